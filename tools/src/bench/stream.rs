//! The bare stream, the physical limit of throughput: fixed slots of one cache line, the sequence
//! in the first word, 48 bytes copied in and out, and one cursor that gates the writer.
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};

use super::block::Publish;
use super::peer::Far;
use super::shared::Line;
use super::spin::{BlockError, spin_until};

/// Slots of the ring: 2 MiB. A ring that fits the second-level cache is three times slower, since
/// each slot to be written again must then be fetched from the reader's cache.
pub(crate) const SLOTS: usize = 32_768;
/// Lines that a stream needs: the cursor, on a pair of lines of its own, and the slots.
pub(crate) const LINES: usize = 2 + SLOTS;
/// The reader tells its place once per so many slots, as a reader of blocks of 64 KiB does.
const CURSOR_STRIDE: u64 = 1024;

const _: () = assert!(SLOTS.is_power_of_two() && SLOTS as u64 >= 2 * CURSOR_STRIDE);

/// The words of the message number `number`.
#[inline(always)]
pub(crate) fn message<const WORDS: usize>(number: u64) -> [u64; WORDS] {
    std::array::from_fn(|at| number.wrapping_add(at as u64))
}

/// The sum of all words of the messages from `first` on, in closed form: it is asked for while the
/// clock runs.
pub(crate) fn checksum<const WORDS: usize>(first: u64, count: u64) -> u64 {
    let (first, count, words) = (u128::from(first), u128::from(count), WORDS as u128);
    let numbers = count * first + count * count.saturating_sub(1) / 2;
    (numbers * words + count * words * words.saturating_sub(1) / 2) as u64
}

/// The payloads that all streams send again and again: as those of a feed's packets they lie in
/// memory, and are not made in registers on the way.
pub(crate) struct Payloads<const WORDS: usize>(Vec<[u64; WORDS]>);

impl<const WORDS: usize> Payloads<WORDS> {
    /// How many differ: 24 KiB of six words each.
    const COUNT: u64 = 512;

    pub(crate) fn new() -> Self {
        Self((0..Self::COUNT).map(message).collect())
    }

    /// The payload of message `number`.
    #[inline(always)]
    pub(crate) fn of(&self, number: u64) -> &[u64; WORDS] {
        &self.0[(number % Self::COUNT) as usize]
    }

    /// The sum of all words of the messages from `first` on.
    pub(crate) fn checksum(first: u64, count: u64) -> u64 {
        let all = checksum::<WORDS>(0, Self::COUNT);
        let before = |end: u64| {
            let rest = checksum::<WORDS>(0, end % Self::COUNT);
            (end / Self::COUNT).wrapping_mul(all).wrapping_add(rest)
        };
        before(first + count).wrapping_sub(before(first))
    }
}

/// Either half of the bare stream. An empty poll of the reader is followed by `PAUSES` pause
/// instructions: some make batches, so that the reader does not fight for the line being written.
/// Where the stream stands is in shared memory alone, so several of these may take turns.
pub(crate) struct Stream<'a, const PAUSES: u32> {
    cursor: &'a AtomicU64,
    slots: &'a [Line; SLOTS],
}

impl<'a, const PAUSES: u32> Stream<'a, PAUSES> {
    pub(crate) fn new(lines: &'a [Line; LINES]) -> Self {
        let (cursor, slots) = lines.split_at(LINES - SLOTS);
        let slots = slots.try_into().expect("what follows the cursor is the slots");
        Self { cursor: &cursor[0].words[0], slots }
    }

    /// The slot of message `number`.
    #[inline(always)]
    fn slot(&self, number: u64) -> &'a [AtomicU64; 8] {
        &self.slots[number as usize & (SLOTS - 1)].words
    }
}

impl<const PAUSES: u32> Publish for Stream<'_, PAUSES> {
    fn publish(&mut self, messages: u64) -> Result<()> {
        let payloads = Payloads::<6>::new();
        // Between blocks the reader has taken everything.
        let first = self.cursor.load(Ordering::Acquire);
        let mut gate = first + SLOTS as u64;
        for number in first..first + messages {
            if number == gate {
                // Pairs with the release store in `Far::block`: what is overwritten has been read.
                spin_until::<1>(|| {
                    gate = self.cursor.load(Ordering::Acquire) + SLOTS as u64;
                    number < gate
                })?;
            }
            let [sequence, _, payload @ ..] = self.slot(number);
            for (word, value) in payload.iter().zip(payloads.of(number)) {
                word.store(*value, Ordering::Relaxed);
            }
            // Pairs with the acquire load in `Far::block`.
            sequence.store(number + 1, Ordering::Release);
        }
        Ok(())
    }
}

impl<const PAUSES: u32> Far for Stream<'_, PAUSES> {
    fn block(&mut self, count: u64) -> Result<()> {
        let first = self.cursor.load(Ordering::Relaxed);
        let mut found = 0u64;
        for number in first..first + count {
            let [sequence, _, payload @ ..] = self.slot(number);
            // Pairs with the release store of the sequence.
            spin_until::<PAUSES>(|| sequence.load(Ordering::Acquire) == number + 1)?;
            let message = payload.each_ref().map(|word| word.load(Ordering::Relaxed));
            found = message.into_iter().fold(found, u64::wrapping_add);
            if (number + 1).is_multiple_of(CURSOR_STRIDE) {
                // Pairs with the acquire load of the gate.
                self.cursor.store(number + 1, Ordering::Release);
            }
        }
        self.cursor.store(first + count, Ordering::Release);
        let expected = Payloads::<6>::checksum(first, count);
        ensure!(found == expected, BlockError::Corrupt { expected, found });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn lines() -> Box<[Line; LINES]> {
        let lines: Vec<Line> = (0..LINES).map(|_| Line::default()).collect();
        lines.into_boxed_slice().try_into().ok().unwrap()
    }

    #[test]
    fn the_checksum_of_a_run_is_the_sum_of_its_payloads() {
        let payloads = Payloads::<6>::new();
        for (first, count) in [(0, 0), (0, 1), (510, 5), (1023, 2048), (77, 512)] {
            let words = (first..first + count).flat_map(|number| *payloads.of(number));
            assert_eq!(Payloads::<6>::checksum(first, count), words.fold(0, u64::wrapping_add));
        }
    }

    #[test]
    fn blocks_longer_than_the_ring_arrive_whole() {
        let lines = lines();
        for messages in [1, SLOTS as u64 - 1, 3 * SLOTS as u64 + 7, 5] {
            thread::scope(|scope| {
                let far = scope.spawn(|| Stream::<32>::new(&lines).block(messages));
                Stream::<0>::new(&lines).publish(messages).unwrap();
                far.join().unwrap().unwrap();
            });
        }
    }

    #[test]
    fn a_changed_word_is_found() {
        let lines = lines();
        Stream::<0>::new(&lines).publish(10).unwrap();
        Stream::<0>::new(&lines).slot(3)[7].fetch_add(1, Ordering::Relaxed);
        let result = Stream::<0>::new(&lines).block(10);
        let error = result.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(BlockError::Corrupt { .. })), "{error:?}");
    }
}
