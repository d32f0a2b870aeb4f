//! One subscription to one log: a reader, the seat that gates the publisher for it where it has
//! one, and what a stall means. Where a subscription may start is decided here.

use thiserror::Error;

use super::block::{BlockHeader, block_of, block_start, is_edge};
use super::copy::Stall;
use super::memory::Memory;
use super::pages::{self, Pages};
use super::reader::{Reader, Start};
use super::ring::Ring;
use super::seat::{Counts, Seat};
use super::seek;
#[cfg(not(loom))]
use super::segment::BlockBuffer;
use super::walk::{self, Damaged};
use super::writer::Resume;
use crate::sync::{Ordering, fence};

/// Where a subscriber starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartAt {
    /// With the first message that is published after the subscriber has joined.
    #[default]
    Live,
    /// With the oldest message that the ring still holds.
    Earliest,
    /// With the message of this offset. If the ring no longer holds it, the subscriber starts with
    /// the oldest that it holds and is told what it lost. An offset beyond the next message's is
    /// an error.
    Offset(u64),
    /// With the first message whose timestamp is at or behind this time, ns since the Unix epoch.
    /// Timestamps are the publisher's, and may go back: what comes after that message comes too.
    Time(u64),
}

/// Why a subscription cannot start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum StartError {
    #[error("offset {offset} was not published yet: the next one is {next}")]
    Future { offset: u64, next: u64 },
    /// What is wanted is not all in the ring.
    #[error("the ring no longer holds all of it")]
    NotHeld,
    #[error("evicted before it could start")]
    Evicted,
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// Why a subscription ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The publisher goes on without it.
    Evicted,
    /// The log holds something that no publisher writes.
    Damaged(Damaged),
}

impl From<Stop> for StartError {
    fn from(stop: Stop) -> StartError {
        match stop {
            Stop::Evicted => StartError::Evicted,
            Stop::Damaged(damaged) => StartError::Damaged(damaged),
        }
    }
}

/// A subscription to one log.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Peeked at and consumed from directly; an error goes to [`Lane::recover`].
    pub(crate) reader: Reader,
    seat: Option<Seat>,
    ring: Ring,
    publisher: Memory,
    /// Position at the last `sync`; `u64::MAX` before the first.
    synced: u64,
    /// Whether messages are read in place where a seat protects them.
    is_waited_for: bool,
    /// Whether the seat gates the publisher.
    is_seated: bool,
}

impl Lane {
    /// A subscription that gates the publisher through `seat`. `is_waited_for`: the topic's policy
    /// is to wait for slow subscribers, so nothing that the cursor protects is ever overwritten
    /// and messages can be read in place.
    pub(crate) fn reliable(
        ring: Ring,
        pages: &Pages,
        mut seat: Seat,
        wanted: Wanted,
        is_waited_for: bool,
    ) -> Result<Lane, StartError> {
        let publisher = pages.publisher.clone();
        let start = loop {
            let start = match start(&ring, &publisher, wanted) {
                Ok(Some(start)) => start,
                Ok(None) => continue,
                Err(error) => {
                    seat.leave();
                    return Err(error);
                }
            };
            // The whole block is protected, also where reading starts in its middle. A publisher
            // that sees this cursor stops there, so a second try finds the place free.
            if seat.join(block_start(block_of(start.position))).is_ok() {
                seat.set_offset(start.due.unwrap_or(start.offset));
                break start;
            }
            if seat.is_evicted() {
                seat.leave();
                return Err(StartError::Evicted);
            }
        };
        let reader = if is_waited_for {
            // SAFETY: the seat is active with its cursor at the start of the block that is read
            // first, and `join` made sure that the publisher honours it (edge `join`). The cursor
            // is stored in `store` only, from `Reader::position`, and `give_up` retires the reader.
            // The publisher of a topic with this policy overwrites a block only when all cursors
            // have passed it (edge `leave`). All of this trusts whoever may write to the topic's
            // files: a stray store to this seat's page makes the publisher go on without it.
            unsafe { Reader::in_place(ring.clone(), start) }
        } else {
            Reader::copied(ring.clone(), start)
        };
        let seat = Some(seat);
        Ok(Lane::new(reader, seat, ring, publisher, is_waited_for, true))
    }

    /// A subscription that the publisher knows nothing of.
    pub(crate) fn lossy(ring: Ring, pages: &Pages, wanted: Wanted) -> Result<Lane, StartError> {
        let publisher = pages.publisher.clone();
        let start = loop {
            if let Some(start) = start(&ring, &publisher, wanted)? {
                break start;
            }
        };
        let reader = Reader::copied(ring.clone(), start);
        Ok(Lane::new(reader, None, ring, publisher, false, false))
    }

    /// A subscription that begins with blocks from files, by a `reader` of these. Its seat, where
    /// it has one, gates the publisher from [`Lane::go_on_in_ring`] on.
    #[cfg(not(loom))]
    pub(crate) fn from_files(
        ring: Ring,
        pages: &Pages,
        seat: Option<Seat>,
        reader: Reader,
        is_waited_for: bool,
    ) -> Lane {
        Lane::new(reader, seat, ring, pages.publisher.clone(), is_waited_for, false)
    }

    fn new(
        reader: Reader,
        seat: Option<Seat>,
        ring: Ring,
        publisher: Memory,
        is_waited_for: bool,
        is_seated: bool,
    ) -> Lane {
        Lane { reader, seat, ring, publisher, synced: u64::MAX, is_waited_for, is_seated }
    }

    /// Goes on in the ring, if that has what comes next, with so many bytes to spare. False when it
    /// does not, and files are to be read on.
    #[cfg(not(loom))]
    pub(crate) fn go_on_in_ring(&mut self, spare_bytes: u64) -> Result<bool, Stop> {
        let position = self.reader.position();
        let number = block_of(position);
        let reserved = self.publisher.load(pages::publisher::RESERVED, Ordering::Acquire);
        let base = seek::base(&self.publisher).map_err(Stop::Damaged)?.position;
        let held =
            reserved.saturating_add(spare_bytes).saturating_sub(self.ring.bytes_len()).max(base);
        if held > block_start(number) {
            return Ok(false);
        }
        if let Some(seat) = &mut self.seat {
            if seat.join(block_start(number)).is_err() {
                seat.leave();
                return Ok(false);
            }
            if seat.is_evicted() {
                return Err(Stop::Evicted);
            }
            self.is_seated = true;
        }
        if !is_edge(position) && self.ring.header(number).is_none() {
            self.leave_ring();
            return Ok(false);
        }
        let ring = self.ring.clone();
        if self.seat.is_some() && self.is_waited_for {
            // SAFETY: as in `Lane::reliable`: the seat is active with its cursor at the start of
            // the block that is read next.
            unsafe { self.reader.go_on_in_place(ring) };
        } else {
            self.reader.go_on_copied(ring);
        }
        Ok(true)
    }

    /// Whether it reads blocks from files.
    #[cfg(not(loom))]
    pub(crate) fn is_in_files(&self) -> bool {
        self.reader.is_buffered()
    }

    /// Goes on with blocks from files, which are loaded to `buffer`; the publisher is held up no
    /// more.
    #[cfg(not(loom))]
    pub(crate) fn go_on_in_files(&mut self, buffer: BlockBuffer) {
        self.reader.go_on_buffered(buffer);
        self.leave_ring();
    }

    #[cfg(not(loom))]
    fn leave_ring(&mut self) {
        if let Some(seat) = &mut self.seat
            && std::mem::take(&mut self.is_seated)
        {
            seat.leave();
        }
    }

    /// Whether there is nothing to read and nothing for `sync` to do.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.reader.is_drained() && !self.has_moved()
    }

    /// Whether the reader has moved since the last `sync`.
    #[inline]
    pub(crate) fn has_moved(&mut self) -> bool {
        self.reader.position() != self.synced
    }

    /// Whether the reader has left the block of the last `sync`.
    #[inline]
    pub(crate) fn has_left_block(&mut self) -> bool {
        block_of(self.reader.position()) != block_of(self.synced)
    }

    /// Offset behind the last message that is committed now; `None` when that cannot be told, as
    /// the publisher goes on too fast.
    ///
    /// # Errors
    /// When the log holds something that no publisher writes.
    pub(crate) fn published_offset(&self) -> Result<Option<u64>, Damaged> {
        let (newest, _) = seek::newest_live(&self.ring, &self.publisher)?;
        let Some(newest) = newest else { return Ok(Some(seek::base(&self.publisher)?.offset)) };
        Ok(walk::tail(&self.ring, newest)?.map(|tail| tail.resume.offset))
    }

    /// Stores as [`Lane::store`] does, and looks whether the publisher still waits for this
    /// subscription: on leaving a block, and when there is nothing to read.
    ///
    /// # Errors
    /// [`Stop::Evicted`].
    pub(crate) fn sync(&mut self, counts: Counts) -> Result<(), Stop> {
        self.store(counts);
        self.synced = self.reader.position();
        match &self.seat {
            Some(seat) if seat.is_evicted() => Err(Stop::Evicted),
            _ => Ok(()),
        }
    }

    /// Stores the cursor, and what was counted so far: nothing is looked at that the publisher
    /// writes.
    #[inline(always)]
    pub(crate) fn store(&mut self, counts: Counts) {
        let position = self.reader.position();
        if let Some(seat) = &self.seat {
            seat.count(counts);
            seat.store(position, self.reader.offset());
        }
    }

    /// Goes on after a stall: half a ring behind the head. False when the publisher was faster than
    /// that, too: to be tried again.
    ///
    /// # Errors
    /// [`Stop`]: a subscription with a seat is overrun only once it is evicted.
    #[cold]
    pub(crate) fn recover(&mut self, stall: Stall) -> Result<bool, Stop> {
        match stall {
            Stall::Damaged(damaged) => return Err(Stop::Damaged(damaged)),
            Stall::Overrun => {}
        }
        if let Some(seat) = &self.seat
            && seat.is_evicted()
        {
            return Err(Stop::Evicted);
        }
        // The number that gave the overrun away was stored after the reservation for it: with this
        // fence the reservation is seen, too (edge `overrun`).
        fence(Ordering::Acquire);
        let (newest, reserved) =
            seek::newest_live(&self.ring, &self.publisher).map_err(Stop::Damaged)?;
        let before = self.reader.position();
        let Some(newest) = newest.filter(|newest| block_start(*newest) > before) else {
            let what = "a block that overran its readers without a reservation";
            return Err(Stop::Damaged(Damaged::new(before, what)));
        };
        // Blocks may be reserved ahead of the newest one, and not entered.
        let low = block_of(reserved).saturating_sub(self.ring.blocks() / 2).min(newest);
        let low = low.max(block_of(before) + 1);
        let found = (low..=newest).find(|number| self.ring.header(*number).is_some());
        if let Some(number) = found {
            self.reader.restart(number);
        }
        Ok(found.is_some())
    }

    /// Whether the reader stands before a block whose place the publisher has reserved for a later
    /// one: a publisher that died on entering that has left nothing there that would say so.
    pub(crate) fn is_overrun_at_edge(&mut self) -> bool {
        let reserved = self.publisher.load(pages::publisher::RESERVED, Ordering::Acquire);
        let position = self.reader.position();
        is_edge(position) && reserved.saturating_sub(self.ring.bytes_len()) > position
    }

    /// Gives the seat up: the publisher goes on without this subscription, which reads no more.
    pub(crate) fn give_up(&mut self) {
        if let Some(mut seat) = self.seat.take() {
            self.reader.retire();
            seat.leave();
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Where a subscription is to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) at: StartAt,
    /// Whether all of that must be in the ring: else it starts with what there is.
    pub(crate) is_whole: bool,
}

impl Wanted {
    /// At `at`, or with the oldest that the ring holds of that.
    pub(crate) fn as_held(at: StartAt) -> Wanted {
        Wanted { at, is_whole: false }
    }

    /// Whether the first block that is there, with this header, has all of it.
    fn is_held(self, number: u64, header: &BlockHeader) -> bool {
        match self.at {
            StartAt::Live => true,
            StartAt::Earliest => number == 0,
            StartAt::Offset(offset) => header.first_offset < offset || number == 0,
            StartAt::Time(time_ns) => header.timestamp_max_ns < time_ns || number == 0,
        }
    }
}

/// Finds the place for what is wanted; `None` when the publisher was faster than the search.
fn start(ring: &Ring, publisher: &Memory, wanted: Wanted) -> Result<Option<Start>, StartError> {
    let start_at = wanted.at;
    let (newest, reserved) = seek::newest_live(ring, publisher)?;
    let Some(newest) = newest else {
        // Nothing was published yet, as far as the ring goes back.
        let Resume { position, offset: next, .. } = seek::base(publisher)?;
        let due = match start_at {
            StartAt::Offset(offset) if offset > next => {
                return Err(StartError::Future { offset, next });
            }
            StartAt::Offset(offset) => Some(offset),
            _ => None,
        };
        if wanted.is_whole && next > 0 && start_at != StartAt::Live && due != Some(next) {
            return Err(StartError::NotHeld);
        }
        return Ok(Some(Start { position, offset: next, due, joining: false }));
    };
    let number = match start_at {
        StartAt::Live => {
            let tail = walk::tail(ring, newest)?;
            return Ok(tail.map(|tail| Start {
                position: tail.resume.position,
                offset: tail.resume.offset,
                due: None,
                joining: tail.train_open,
            }));
        }
        StartAt::Earliest => seek::earliest(ring, reserved),
        StartAt::Offset(offset) => {
            let Some(tail) = walk::tail(ring, newest)? else { return Ok(None) };
            let next = tail.resume.offset;
            if offset > next {
                return Err(StartError::Future { offset, next });
            }
            seek::earliest(ring, reserved).map(|low| seek::by_offset(ring, low, newest, offset))
        }
        StartAt::Time(time_ns) => {
            seek::earliest(ring, reserved).map(|low| seek::by_time(ring, low, newest, time_ns))
        }
    };
    let Some(mut number) = number else { return Ok(None) };
    if wanted.is_whole {
        let Some(header) = ring.header(number) else { return Ok(None) };
        if !wanted.is_held(number, &header) {
            return Err(StartError::NotHeld);
        }
    }
    let due = match start_at {
        StartAt::Offset(offset) => Some(offset),
        StartAt::Time(time_ns) => loop {
            match seek::first_at(ring, number, time_ns)? {
                // The publisher was faster.
                None => return Ok(None),
                Some(Ok(offset)) => break Some(offset),
                Some(Err(next)) if number >= newest => break Some(next),
                Some(Err(_)) => number += 1,
            }
        },
        _ => None,
    };
    debug_assert!(is_edge(block_start(number)));
    let offset = ring.header(number).map_or(0, |header| header.first_offset);
    Ok(Some(Start { position: block_start(number), offset, due, joining: true }))
}
