//! What the journal takes from the ring: where the committed log ends, and a cursor that keeps the
//! publisher from overwriting what is not written yet.
#![forbid(unsafe_code)]

use crate::log::block::{block_of, block_start, is_edge};
use crate::log::pages::{self, JOURNAL_SLOT, Pages};
use crate::log::ring::Ring;
use crate::log::seat::Seat;
use crate::log::seek;
use crate::log::walk::{self, Damaged, Tail};
use crate::sync::Ordering;

/// Blocks that one call walks over at most, so that what was found is written soon.
const BLOCKS_AT_ONCE: u64 = 16;

/// What is wrong with a ring that does not go on where the journal ends: it is of another log, or the
/// journal was cut.
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
    /// Begins with the oldest block that the ring holds, or that the cursor of a journal which died early
    /// still keeps in it.
    ///
    /// The caller holds the journal's lock, and `pages.journal` is writable.
    pub(crate) fn begin(ring: Ring, pages: &Pages) -> Result<Tap, Damaged> {
        let adopted =
            Seat::adopt(pages.clone(), pages.journal.clone(), JOURNAL_SLOT, ring.bytes_len());
        if let Some(seat) = adopted {
            let number = block_of(pages.journal.load(pages::cursor::POSITION, Ordering::Relaxed));
            let header = ring.header(number);
            if header.is_some() || number == 0 {
                let offset = header.map_or(0, |header| header.first_offset);
                return Ok(Tap { ring, seat, tail: Tail::before_block(number, offset), epoch: 0 });
            }
        }
        let mut seat = Self::new_seat(&ring, pages);
        loop {
            let (newest, reserved) = seek::newest_live(&ring, &pages.publisher)?;
            let number = newest.and_then(|_| seek::earliest(&ring, reserved));
            let number = match (newest, number) {
                (None, _) => 0,
                (Some(_), Some(number)) => number,
                // The publisher was faster than the look.
                (Some(_), None) => continue,
            };
            if seat.join(block_start(number)).is_ok() {
                let offset = ring.header(number).map_or(0, |header| header.first_offset);
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
            tail.advance(ring.lines(), from.position, |_, _| true)?;
            if (tail.resume.position, tail.resume.offset) != (from.position, from.offset) {
                seat.leave();
                return Err(Damaged::new(from.position, ANOTHER_LOG));
            }
        } else if let Some(before) = number.checked_sub(1)
            && let Some(Tail { resume, .. }) = walk::tail(&ring, before)?
            && (resume.position, resume.offset) != (from.position, from.offset)
        {
            seat.leave();
            return Err(Damaged::new(from.position, ANOTHER_LOG));
        }
        Ok(Some(Tap { ring, seat, tail, epoch }))
    }

    fn new_seat(ring: &Ring, pages: &Pages) -> Seat {
        Seat::new(pages.clone(), pages.journal.clone(), JOURNAL_SLOT, ring.bytes_len())
    }

    /// Walks on over what was committed since. Returns whether there was anything.
    pub(crate) fn advance(&mut self) -> Result<bool, Damaged> {
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

    /// Goes past the rest of a block that is full, which the header of the next one says: to walk over
    /// it would fetch a line for each message from the publisher's core. Returns whether it is.
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

    /// The place at the start of block `number`, which is at or behind the cursor and not behind the
    /// committed end.
    pub(crate) fn edge(&self, number: u64) -> Place {
        let position = block_start(number);
        let offset = match self.ring.header(number) {
            Some(header) if position < self.tail.resume.position => header.first_offset,
            _ => self.tail.resume.offset,
        };
        Place { position, offset }
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
