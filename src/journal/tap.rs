//! What the journal takes from the ring: where the committed log ends, and a cursor that keeps the
//! publisher from overwriting what is not written yet.
#![forbid(unsafe_code)]

use crate::log::block::{block_of, block_start, is_edge};
use crate::log::lane::Stop;
use crate::log::pages::{self, JOURNAL_SLOT, Pages};
use crate::log::ring::Ring;
use crate::log::seat::Seat;
use crate::log::seek;
use crate::log::walk::{self, Damaged, Tail};
use crate::log::writer::Resume;
use crate::sync::Ordering;

/// Blocks that one call walks over at most, so that what was found is written soon.
const BLOCKS_AT_ONCE: u64 = 16;

/// What is wrong with a ring that does not go on where the journal ends: it is of another log, or
/// the journal was cut.
const ANOTHER_LOG: &str = "a message that is another one than was journaled at its place";

const NOT_NEXT: &str = "a block that does not follow the last";

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) position: u64,
    /// Every message below this offset ends at or before the position.
    pub(crate) offset: u64,
}

/// The journal's end of a ring.
#[derive(Debug)]
pub(crate) struct Tap {
    ring: Ring,
    seat: Seat,
    /// The committed end, as far as it was walked to. At a block's start that block is not entered.
    tail: Tail,
    /// Of the block that was entered last.
    epoch: u64,
}

impl Tap {
    /// Begins with the oldest block that the ring holds, or that the cursor of a journal which died
    /// early still keeps in it.
    ///
    /// The caller holds the journal's lock, and `pages.journal` is writable.
    pub(crate) fn begin(ring: Ring, pages: &Pages) -> Result<Tap, Damaged> {
        let base = seek::base(&pages.publisher)?;
        let adopted =
            Seat::adopt(pages.clone(), pages.journal.clone(), JOURNAL_SLOT, ring.bytes_len());
        if let Some(seat) = adopted {
            let number = block_of(pages.journal.load(pages::cursor::POSITION, Ordering::Relaxed));
            let header = ring.header(number);
            if header.is_some() || number == block_of(base.position) {
                let offset = header.map_or(base.offset, |header| header.first_offset);
                return Ok(Tap { ring, seat, tail: Tail::before_block(number, offset), epoch: 0 });
            }
        }
        let mut seat = Self::new_seat(&ring, pages);
        loop {
            let (newest, reserved) = seek::newest_live(&ring, &pages.publisher)?;
            let number = newest.and_then(|_| seek::earliest(&ring, reserved));
            let number = match (newest, number) {
                (None, _) => block_of(base.position),
                (Some(_), Some(number)) => number,
                // The publisher was faster than the look.
                (Some(_), None) => continue,
            };
            if seat.join(block_start(number)).is_ok() {
                let offset = ring.header(number).map_or(base.offset, |header| header.first_offset);
                let tail = Tail::before_block(number, offset);
                return Ok(Tap { ring, seat, tail, epoch: 0 });
            }
        }
    }

    /// Goes on at `from`, which a journal before this one came to. `None` where the ring does not
    /// have that place any more; then nothing is held up.
    ///
    /// The caller holds the journal's lock, and `pages.journal` is writable.
    ///
    /// # Errors
    /// When another log than the one that was journaled lies in the ring.
    pub(crate) fn resume(ring: Ring, pages: &Pages, from: Place) -> Result<Option<Tap>, Damaged> {
        let number = block_of(from.position);
        // The cursor that a killed journal left holds the publisher up until this one is stored: it
        // is never ahead of what was written, unless some of that is lost. Then it is no help.
        let is_behind =
            pages.journal.load(pages::cursor::POSITION, Ordering::Relaxed) <= from.position;
        let adopted =
            Seat::adopt(pages.clone(), pages.journal.clone(), JOURNAL_SLOT, ring.bytes_len());
        let mut seat = match adopted.filter(|_| is_behind) {
            Some(seat) => seat,
            None => {
                let mut seat = Self::new_seat(&ring, pages);
                if seat.join(block_start(number)).is_err() {
                    seat.leave();
                    return Ok(None);
                }
                seat
            }
        };
        let mut tail = Tail::before_block(number, from.offset);
        let mut epoch = 0;
        if !is_edge(from.position) {
            let Some(header) = ring.header(number) else {
                seat.leave();
                return Ok(None);
            };
            epoch = header.epoch;
            tail = Tail::at_block(number, &header);
            let walked = tail.advance(ring.lines(), from.position, |_, _| true);
            let is_there =
                (tail.resume.position, tail.resume.offset) == (from.position, from.offset);
            if walked.is_err() || !is_there {
                let other = Damaged::new(from.position, ANOTHER_LOG);
                return none_if_evicted(seat, walked.err().unwrap_or(other));
            }
        } else if let Some(before) = number.checked_sub(1)
            && let Some(Tail { resume, .. }) = walk::tail(&ring, before)?
            && (resume.position, resume.offset) != (from.position, from.offset)
        {
            return none_if_evicted(seat, Damaged::new(from.position, ANOTHER_LOG));
        }
        Ok(Some(Tap { ring, seat, tail, epoch }))
    }

    /// Holds the publisher up no more on behalf of a journal that is not written any more.
    ///
    /// The caller holds the journal's lock, and `pages.journal` is writable.
    pub(crate) fn let_go(pages: &Pages, ring_bytes: u64) {
        let seat = Seat::adopt(pages.clone(), pages.journal.clone(), JOURNAL_SLOT, ring_bytes);
        if let Some(mut seat) = seat {
            seat.leave();
        }
    }

    fn new_seat(ring: &Ring, pages: &Pages) -> Seat {
        Seat::new(pages.clone(), pages.journal.clone(), JOURNAL_SLOT, ring.bytes_len())
    }

    /// Walks on over what was committed since. Returns whether there was anything.
    pub(crate) fn advance(&mut self) -> Result<bool, Stop> {
        self.walk_on().map_err(|damaged| self.stop(damaged))
    }

    /// Goes over the frames of block `number`, which is full: that they end where the next block
    /// begins, with the offset that this says. Best done when its lines have come here for another
    /// reason.
    pub(crate) fn check_full_block(&self, number: u64) -> Result<(), Stop> {
        let (header, next) = (self.ring.header(number), self.ring.header(number + 1));
        let ends_there = header.zip(next).map_or(Ok(false), |(header, next)| {
            let mut tail = Tail::at_block(number, &header);
            tail.advance(self.ring.lines(), u64::MAX, |_, _| true)?;
            let Resume { position, offset, .. } = tail.resume;
            Ok((position, offset) == (block_start(number + 1), next.first_offset))
        });
        match ends_there {
            Ok(true) => Ok(()),
            // The last one: the walk has come to its end.
            Ok(false) if next.is_none() && self.committed().position == block_start(number + 1) => {
                Ok(())
            }
            Ok(false) => Err(self.stop(Damaged::new(block_start(number), NOT_NEXT))),
            Err(damaged) => Err(self.stop(damaged)),
        }
    }

    /// Why it cannot go on behind something that no publisher writes: most likely the publisher
    /// went on without this journal, and the ring is full of what comes a lap later.
    fn stop(&self, damaged: Damaged) -> Stop {
        if self.seat.is_evicted() { Stop::Evicted } else { Stop::Damaged(damaged) }
    }

    fn walk_on(&mut self) -> Result<bool, Damaged> {
        let before = self.tail.resume.position;
        for _ in 0..BLOCKS_AT_ONCE {
            let position = self.tail.resume.position;
            if is_edge(position) && !self.enter(block_of(position))? {
                break;
            }
            if !self.pass_full_block()? {
                self.tail.advance(self.ring.lines(), u64::MAX, |_, _| true)?;
                if !is_edge(self.tail.resume.position) {
                    break;
                }
            }
        }
        Ok(self.tail.resume.position != before)
    }

    fn enter(&mut self, number: u64) -> Result<bool, Damaged> {
        // Edge `entry`.
        let Some(header) = self.ring.header(number) else { return Ok(false) };
        let offset = self.tail.resume.offset;
        if header.first_offset != offset || header.epoch < self.epoch {
            return Err(Damaged::new(block_start(number), NOT_NEXT));
        }
        self.tail = Tail::at_block(number, &header);
        self.epoch = header.epoch;
        Ok(true)
    }

    /// Goes past the rest of a block that is full, which the header of the next one says: to walk
    /// over it now would fetch one line after the other from the publisher's core. Its frames are
    /// checked when all of it has come. Returns whether it is full.
    fn pass_full_block(&mut self) -> Result<bool, Damaged> {
        let next = block_of(self.tail.resume.position) + 1;
        // Edge `entry`: the block before was committed to its end.
        let Some(header) = self.ring.header(next) else { return Ok(false) };
        if header.first_offset < self.tail.resume.offset {
            return Err(Damaged::new(block_start(next), NOT_NEXT));
        }
        self.tail = Tail::before_block(next, header.first_offset);
        Ok(true)
    }

    /// The committed end, as far as it was walked to.
    pub(crate) fn committed(&self) -> Place {
        let resume = &self.tail.resume;
        Place { position: resume.position, offset: resume.offset }
    }

    /// The place at the start of block `number`, which is at or behind the cursor and not behind
    /// the committed end.
    pub(crate) fn edge(&self, number: u64) -> Place {
        let position = block_start(number);
        let offset = match self.ring.header(number) {
            Some(header) if position < self.tail.resume.position => header.first_offset,
            _ => self.tail.resume.offset,
        };
        Place { position, offset }
    }

    /// Offset of the first message that begins at the committed end or behind it, or of what comes
    /// next there: of a message that goes on from before, the beginning may be missing.
    pub(crate) fn next_beginning(&self) -> Result<u64, Stop> {
        let Place { position, offset } = self.committed();
        let (mut number, mut offset) = (block_of(position), offset);
        while let Some(header) = self.ring.header(number) {
            let mut tail = Tail::at_block(number, &header);
            let mut beginning = None;
            let walked = tail.advance(self.ring.lines(), u64::MAX, |_, offset| {
                beginning = Some(offset);
                false
            });
            walked.map_err(|damaged| self.stop(damaged))?;
            if beginning.is_some() || !tail.train_open {
                return Ok(beginning.unwrap_or(tail.resume.offset));
            }
            // It is taken for lost unless it is seen to be given up.
            offset = tail.resume.offset + 1;
            number += 1;
        }
        Ok(offset)
    }

    /// The ring, of which everything from the cursor's block to the committed end stays as it is.
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Lets the publisher overwrite the blocks before `place`.
    pub(crate) fn release(&self, place: Place) {
        self.seat.store(place.position, place.offset);
    }

    /// Whether the publisher goes on without this journal.
    pub(crate) fn is_evicted(&self) -> bool {
        self.seat.is_evicted()
    }

    /// Holds the publisher up no more.
    pub(crate) fn leave(&mut self) {
        self.seat.leave();
    }
}

/// Leaves a ring in which something else is found than was journaled. That is so, too, where the
/// publisher went on meanwhile without this journal: then the ring does not have the place any
/// more.
fn none_if_evicted(mut seat: Seat, damaged: Damaged) -> Result<Option<Tap>, Damaged> {
    let is_evicted = seat.is_evicted();
    seat.leave();
    if is_evicted { Ok(None) } else { Err(damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::block::{BLOCK_BYTES, LogId};
    use crate::log::gate::Gate;
    use crate::log::memory::Memory;
    use crate::log::pages::{PAGE_BYTES, SLOTS};
    use crate::log::ring::BLOCKS_MIN;
    use crate::log::takeover::take_over;

    /// What is in a full block is not looked at on the way past it, but before it is written.
    #[test]
    fn a_full_block_that_no_publisher_writes_is_found_before_it_counts() {
        let ring = Ring::new(Memory::heap(BLOCKS_MIN * BLOCK_BYTES));
        let cursors = Memory::heap(SLOTS as u64 * PAGE_BYTES);
        let pages = Pages::heap();
        let gate = Gate::new(pages.clone(), cursors, ring.bytes_len(), 0);
        let mut writer = take_over(ring.clone(), gate, None, LogId([1, 2])).expect("a new log");
        let mut tap = Tap::begin(ring.clone(), &pages).expect("nothing is damaged");
        // Two blocks of messages of one line, and the beginning of a third.
        for _ in 0..2 * 1022 + 3 {
            writer.try_publish(0, &[7_u8; 40][..]).expect("nobody is in the way");
        }
        assert_eq!(tap.advance(), Ok(true));
        assert_eq!(block_of(tap.committed().position), 2);
        assert_eq!([0, 1].map(|number| tap.check_full_block(number)), [Ok(()); 2]);
        // Of a message in the middle, the word that says how long it is and which.
        let at = block_start(1) + BLOCK_BYTES / 2;
        let word = ring.lines().load(at, Ordering::Relaxed);
        for wrong in [0, word ^ 1 << 20, word + 64, u64::MAX] {
            ring.lines().store(at, wrong, Ordering::Relaxed);
            assert_eq!(tap.check_full_block(0), Ok(()));
            assert!(matches!(tap.check_full_block(1), Err(Stop::Damaged(_))), "{wrong:#x}");
        }
        // The publisher went on without the journal: then it may be anything.
        let state = pages.journal.load(pages::cursor::STATE, Ordering::Relaxed);
        let mark = pages::publisher::EVICTED + JOURNAL_SLOT as u64;
        pages.publisher.store(mark, state >> 1, Ordering::Relaxed);
        assert_eq!(tap.check_full_block(1), Err(Stop::Evicted));
    }
}
