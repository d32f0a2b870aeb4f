//! What is sent: payloads of whole words, their sizes, and the sums by which the receiving side
//! knows that it got them. Add a size here.
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The payload of a message: its size is known when the program is built, as that of a typed tick.
pub type Words<const W: usize> = [u64; W];

/// Bytes of a word.
const WORD_BYTES: usize = 8;

/// How many bytes a payload has: one of those for which the benchmarks were built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "usize", try_from = "usize")]
pub struct Payload(usize);

/// Runs `$body` with the constant `$words` set to the number of words of a payload.
#[macro_export]
macro_rules! with_words {
    ($payload:expr, $words:ident => $body:expr) => {
        match $payload.words() {
            2 => {
                const $words: usize = 2;
                $body
            }
            6 => {
                const $words: usize = 6;
                $body
            }
            14 => {
                const $words: usize = 14;
                $body
            }
            32 => {
                const $words: usize = 32;
                $body
            }
            128 => {
                const $words: usize = 128;
                $body
            }
            512 => {
                const $words: usize = 512;
                $body
            }
            2048 => {
                const $words: usize = 2048;
                $body
            }
            other => unreachable!("no payload has {other} words"),
        }
    };
}

impl Payload {
    /// A trade, a quote side: with its header it takes one cache line.
    pub const TICK: Self = Self(48);
    /// Large enough that moving it is what counts, and not what there is to each message.
    pub const LARGE: Self = Self(1 << 10);
    /// All sizes, in bytes: those of the comparison with the peers, and two in between.
    pub const ALL: [usize; 7] = [16, 48, 112, 256, 1 << 10, 4 << 10, 16 << 10];
    /// The sizes of the comparison with the peers.
    pub const COMPARED: [Self; 5] = [Self(16), Self(48), Self(112), Self(1 << 10), Self(16 << 10)];

    /// Its size.
    pub fn bytes(self) -> usize {
        self.0
    }

    /// Its size in words.
    pub fn words(self) -> usize {
        self.0 / WORD_BYTES
    }

    /// Bytes of log that it takes: with a header of 16 bytes, in whole cache lines.
    pub fn frame_bytes(self) -> usize {
        (self.0 + 16).next_multiple_of(64)
    }

    /// How many messages a ring of `ring_bytes` holds where each has a header of 16 bytes and
    /// begins a cache line, a power of two: no more than tickcast's.
    pub fn capacity(self, ring_bytes: usize) -> usize {
        let capacity = ring_bytes / self.frame_bytes();
        1 << capacity.max(2).ilog2()
    }
}

impl Display for Payload {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= 1 << 10 => write!(out, "{} KiB", bytes >> 10),
            bytes => write!(out, "{bytes} B"),
        }
    }
}

impl From<Payload> for usize {
    fn from(payload: Payload) -> Self {
        payload.0
    }
}

impl TryFrom<usize> for Payload {
    type Error = String;

    fn try_from(bytes: usize) -> Result<Self, String> {
        if Self::ALL.contains(&bytes) {
            return Ok(Self(bytes));
        }
        let sizes = Self::ALL.map(|bytes| bytes.to_string()).join(", ");
        Err(format!("the benchmarks are built for payloads of {sizes} bytes"))
    }
}

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match text[digits.len()..].trim_start() {
            "" | "B" => Some(1),
            unit if unit.eq_ignore_ascii_case("KiB") => Some(1 << 10),
            _ => None,
        };
        let bytes = digits.parse::<usize>().ok().zip(unit);
        let bytes = bytes.and_then(|(number, unit)| number.checked_mul(unit)).unwrap_or(0);
        bytes.try_into()
    }
}

/// A message that says `first` in its first word; what follows is the same for all.
#[inline(always)]
pub fn message<const W: usize>(first: u64) -> Words<W> {
    std::array::from_fn(|at| if at == 0 { first } else { at as u64 })
}

/// The sum of the words of [`message`].
#[inline(always)]
pub const fn sum_of_message<const W: usize>(first: u64) -> u64 {
    first.wrapping_add((W as u64) * (W as u64 - 1) / 2)
}

/// The sum of a message's words: so that each of them is read.
#[inline(always)]
pub fn sum<const W: usize>(words: &Words<W>) -> u64 {
    words.iter().copied().fold(0, u64::wrapping_add)
}

/// The payloads that all streams send again and again: as those of a feed's packets they lie in
/// memory, and are not made in registers on the way.
pub struct Payloads<const W: usize>(Vec<Words<W>>);

impl<const W: usize> Payloads<W> {
    /// How many differ, a power of two: as many as take some 24 KiB.
    const COUNT: u64 = {
        let fit = (24 << 10) / (W * WORD_BYTES);
        if fit < 2 { 1 } else { 1 << fit.ilog2() }
    };

    /// Makes them.
    pub fn new() -> Self {
        Self((0..Self::COUNT).map(message).collect())
    }

    /// The payload of message `number`.
    #[inline(always)]
    pub fn of(&self, number: u64) -> &Words<W> {
        &self.0[(number % Self::COUNT) as usize]
    }

    /// The payloads of message `number` and of those behind it, `most` at most: at least one.
    #[inline(always)]
    pub fn from(&self, number: u64, most: u64) -> &[Words<W>] {
        let first = number % Self::COUNT;
        &self.0[first as usize..(first + most).min(Self::COUNT) as usize]
    }

    /// The sum of all words of the messages from `first` on, in closed form: it is asked for while
    /// the clock runs.
    pub fn sum(first: u64, count: u64) -> u64 {
        let up_to = |end: u64| end.wrapping_mul(end.saturating_sub(1)) / 2;
        let rest = (W as u64) * (W as u64 - 1) / 2;
        let before = |end: u64| {
            let cycles = (end / Self::COUNT).wrapping_mul(up_to(Self::COUNT));
            cycles.wrapping_add(up_to(end % Self::COUNT)).wrapping_add(end.wrapping_mul(rest))
        };
        before(first + count).wrapping_sub(before(first))
    }
}

impl<const W: usize> Default for Payloads<W> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_run_is_the_sum_of_its_payloads() {
        fn holds<const W: usize>() {
            let payloads = Payloads::<W>::new();
            for (first, count) in [(0, 0), (0, 1), (510, 5), (1023, 2048), (77, 512)] {
                let words = (first..first + count).map(|number| sum(payloads.of(number)));
                assert_eq!(Payloads::<W>::sum(first, count), words.fold(0, u64::wrapping_add));
            }
            assert_eq!(sum(&message::<W>(77)), sum_of_message::<W>(77));
        }
        holds::<2>();
        holds::<6>();
        holds::<2048>();
    }

    #[test]
    fn runs_of_payloads_are_those_of_their_numbers() {
        let payloads = Payloads::<6>::new();
        assert_eq!(payloads.from(510, 16), [*payloads.of(510), *payloads.of(511)]);
        assert_eq!(payloads.from(1024, 2), [*payloads.of(0), *payloads.of(1)]);
    }

    #[test]
    fn every_size_is_built_and_read_back() {
        for bytes in Payload::ALL {
            let payload = Payload::try_from(bytes).unwrap();
            with_words!(payload, W => assert_eq!(W * 8, bytes));
            assert_eq!(payload.to_string().parse::<Payload>().unwrap(), payload);
        }
        assert_eq!("1KiB".parse::<Payload>().unwrap().bytes(), 1024);
        for wrong in ["", "47", "48 MiB", "x", "-48"] {
            assert!(wrong.parse::<Payload>().unwrap_err().contains("16, 48, 112"), "{wrong}");
        }
    }

    #[test]
    fn a_ring_holds_as_many_messages_as_fit_with_headers() {
        assert_eq!(Payload(48).capacity(2 << 20), 32_768);
        assert_eq!(Payload(16 << 10).capacity(2 << 20), 64);
    }
}
