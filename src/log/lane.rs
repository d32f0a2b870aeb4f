//! One subscription to one log: a reader, the seat that gates the publisher for it where it has
//! one, and what a stall means. Where a subscription may start is decided here.

use thiserror::Error;

use super::block::{block_of, block_start, is_edge};
use super::copy::Stall;
use super::memory::Memory;
use super::pages::{self, Pages};
use super::reader::{Reader, Start};
use super::ring::Ring;
use super::seat::{Counts, Seat};
use super::seek;
use super::walk::{self, Damaged};
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
}

impl Lane {
    /// A subscription that gates the publisher through `seat`. `is_waited_for`: the topic's policy
    /// is to wait for slow subscribers, so nothing that the cursor protects is ever overwritten
    /// and messages can be read in place.
    pub(crate) fn reliable(
        ring: Ring,
        pages: &Pages,
        mut seat: Seat,
        start_at: StartAt,
        is_waited_for: bool,
    ) -> Result<Lane, StartError> {
        let publisher = pages.publisher.clone();
        let start = loop {
            let start = match start(&ring, &publisher, start_at) {
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
        Ok(Lane { reader, seat: Some(seat), ring, publisher, synced: u64::MAX })
    }

    /// A subscription that the publisher knows nothing of.
    pub(crate) fn lossy(ring: Ring, pages: &Pages, start_at: StartAt) -> Result<Lane, StartError> {
        let publisher = pages.publisher.clone();
        let start = loop {
            if let Some(start) = start(&ring, &publisher, start_at)? {
                break start;
            }
        };
        let reader = Reader::copied(ring.clone(), start);
        Ok(Lane { reader, seat: None, ring, publisher, synced: u64::MAX })
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

    /// Offset behind the last message that is committed now; `None` when that cannot be told, as the
    /// publisher goes on too fast.
    pub(crate) fn published_offset(&self) -> Option<u64> {
        let (newest, _) = seek::newest_live(&self.ring, &self.publisher).ok()?;
        Some(walk::tail(&self.ring, newest?).ok()??.resume.offset)
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

/// Finds the place for `start_at`; `None` when the publisher was faster than the search.
fn start(ring: &Ring, publisher: &Memory, start_at: StartAt) -> Result<Option<Start>, StartError> {
    let (newest, reserved) = seek::newest_live(ring, publisher)?;
    let Some(newest) = newest else {
        // Nothing was published yet.
        return match start_at {
            StartAt::Offset(offset) if offset > 0 => Err(StartError::Future { offset, next: 0 }),
            _ => Ok(Some(Start { position: 0, offset: 0, due: None, joining: false })),
        };
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
