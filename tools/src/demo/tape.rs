//! What is played: messages from a file or from the generator, held in memory. Change here where
//! they come from and how many are kept.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::checksum::Checksum;
use super::order_flow::OrderFlow;
use super::table::grouped;
use crate::input::{Format, Input, InputError};

/// No more of a file is held in memory; what lies beyond is not played.
const MESSAGES_MAX: usize = 500_000;
const BYTES_MAX: usize = 64 << 20;

const GENERATED_MESSAGES: u64 = 200_000;
const GENERATED_SEED: u64 = 50;

/// Messages in a row, to be played in a loop.
pub(super) struct Tape {
    bytes: Vec<u8>,
    /// Where each message ends; it starts where the one before it ends.
    ends: Vec<usize>,
    /// What the messages are, and what is not among them; for people.
    about: Vec<String>,
}

impl Tape {
    /// A day of made-up order flow; always the same.
    pub(super) fn generated() -> Self {
        let mut flow = OrderFlow::new(GENERATED_SEED, GENERATED_MESSAGES);
        let mut tape = Self::empty();
        let mut message = Vec::new();
        while flow.next_into(&mut message) {
            tape.push(&message);
        }
        tape.about.push(format!("generated ITCH 5.0 order flow (seed {GENERATED_SEED})"));
        tape
    }

    /// Reads the file at `path`: as a capture if its first bytes say so, else as length-prefixed.
    ///
    /// A file that is damaged or cut is played up to there.
    ///
    /// # Errors
    /// When there is no message to be had from it.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let cannot_read = || format!("cannot play {}", path.display());
        let (framing, input) = match Input::open(path, Format::Capture) {
            Err(InputError::NotACapture) => {
                ("length-prefixed", Input::open(path, Format::LengthPrefixed))
            }
            input => ("a capture, one message per UDP datagram", input),
        };
        let mut input = input.with_context(cannot_read)?;
        let mut tape = Self::empty();
        let mut notes = Vec::new();
        loop {
            let record = match input.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) if tape.ends.is_empty() => return Err(error).with_context(cannot_read),
                Err(error) => {
                    notes.push(format!("INCOMPLETE: {error}"));
                    break;
                }
            };
            let is_full = tape.ends.len() == MESSAGES_MAX
                || tape.bytes.len() + record.payload.len() > BYTES_MAX;
            if is_full {
                notes.push(format!(
                    "TRUNCATED: only the beginning is played, at most {} messages or {} MiB",
                    grouped(MESSAGES_MAX as u64),
                    BYTES_MAX >> 20
                ));
                break;
            }
            tape.push(record.payload);
        }
        let skipped = input.skipped();
        if skipped.total() > 0 {
            notes.push(format!("skipped packets: {skipped}"));
        }
        if tape.ends.is_empty() {
            notes.insert(0, format!("{}: it holds no message", cannot_read()));
            bail!(notes.join("; "));
        }
        tape.about.push(format!("{} ({framing})", path.display()));
        tape.about.append(&mut notes);
        Ok(tape)
    }

    /// How many messages there are; at least one.
    pub(super) fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Their bytes, all together.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What this is: the first line names it, others tell what is missing.
    pub(super) fn about(&self) -> &[String] {
        &self.about
    }

    /// The message that is played as number `offset`, the tape being a loop.
    #[inline]
    pub(super) fn message(&self, offset: u64) -> &[u8] {
        self.at((offset % self.len()) as usize)
    }

    /// The checksum that a subscriber of the first `messages` must come to.
    pub(super) fn checksum(&self, messages: u64) -> u64 {
        let mut checksum = Checksum::default();
        let mut place = 0;
        for offset in 0..messages {
            checksum.add(offset, self.at(place));
            place = if place + 1 == self.ends.len() { 0 } else { place + 1 };
        }
        checksum.value()
    }

    fn empty() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), about: Vec::new() }
    }

    fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
    }

    #[inline]
    fn at(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start..self.ends[place]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Tape> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("messages");
        std::fs::write(&path, bytes).unwrap();
        Tape::read(&path)
    }

    #[test]
    fn is_a_loop_of_the_messages_of_a_file() {
        let tape = read(b"\x00\x01a\x00\x03bcd").unwrap();
        assert_eq!((tape.len(), tape.bytes()), (2, 4));
        let played: Vec<_> = (0..5).map(|offset| tape.message(offset)).collect();
        assert_eq!(played, [&b"a"[..], b"bcd", b"a", b"bcd", b"a"]);
        let mut checksum = Checksum::default();
        (0..).zip(played).for_each(|(offset, message)| checksum.add(offset, message));
        assert_eq!(tape.checksum(5), checksum.value());
        assert_ne!(tape.checksum(4), checksum.value());
    }

    #[test]
    fn says_what_it_leaves_out() {
        let tape = read(&b"\x00\x01x".repeat(MESSAGES_MAX)).unwrap();
        assert_eq!((tape.len(), tape.about().len()), (MESSAGES_MAX as u64, 1));
        let tape = read(&b"\x00\x01x".repeat(MESSAGES_MAX + 1)).unwrap();
        assert_eq!(tape.len(), MESSAGES_MAX as u64);
        assert!(tape.about()[1].starts_with("TRUNCATED"), "{:?}", tape.about());
        let long = [&[0x80, 0][..], &[7; 0x8000]].concat();
        let tape = read(&long.repeat(BYTES_MAX / 0x8000 + 1)).unwrap();
        assert_eq!(tape.bytes(), BYTES_MAX as u64);
        assert!(tape.about()[1].starts_with("TRUNCATED"), "{:?}", tape.about());
        for cut in [&b"\x00\x01a\x00"[..], b"\x00\x01a\x00\x00\x00\x01b"] {
            let tape = read(cut).unwrap();
            assert_eq!(tape.len(), 1);
            assert!(tape.about()[1].starts_with("INCOMPLETE"), "{:?}", tape.about());
        }
    }

    #[test]
    fn nothing_to_play_is_an_error() {
        assert!(read(b"").is_err());
        assert!(read(b"\x00\x00\x00\x01a").is_err());
        assert!(read(b"\x00\x05abc").is_err());
    }
}
