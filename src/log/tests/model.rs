//! Random lives of a log against a model of it: a vector.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::super::block::{BLOCK_BYTES, block_start, is_edge};
use super::super::copy::Stall;
use super::super::gate::Blocked;
use super::super::reader::{End, Frame, Reader, Start};
use super::super::seat::Seat;
use super::super::seek;
use super::super::writer::Writer;
use super::harness::*;
use super::kill;

#[derive(Debug, Clone)]
enum Op {
    Publish(u64),
    Batch(Vec<u64>),
    /// Claimed, half filled, and committed or left.
    Claim(u64, bool),
    Gap(u64),
    Control(u64),
    /// The publisher dies after this many stores of the next op.
    Kill(u64, Box<Op>),
    TakeOver,
    Join(u8, From),
    Leave(u8),
    Poll(u8, u8, How),
}

#[derive(Debug, Clone, Copy)]
enum From {
    Live,
    Earliest,
    Offset(u8),
}

#[derive(Debug, Clone, Copy)]
enum How {
    Consume,
    Retry,
    Run,
    /// By the short way. Each so-manieth message is not consumed at first, or is the last for now.
    Each(u8),
}

fn lengths() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0u64..200,
        3 => 200u64..9000,
        2 => 20_000u64..=65_392,
        1 => 65_393..=RING_BYTES / 4,
    ]
}

fn writes() -> impl Strategy<Value = Op> {
    let gaps = prop_oneof![4 => 1u64..2000, 1 => (1u64 << 31) - 1..(1 << 31) + 2];
    prop_oneof![
        8 => lengths().prop_map(Op::Publish),
        3 => prop::collection::vec(0u64..3000, 1..30).prop_map(Op::Batch),
        3 => (0u64..5000, any::<bool>()).prop_map(|(length, ends)| Op::Claim(length, ends)),
        1 => gaps.prop_map(Op::Gap),
        1 => (0u64..300).prop_map(Op::Control),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    let from =
        prop_oneof![Just(From::Live), Just(From::Earliest), any::<u8>().prop_map(From::Offset)];
    let how = prop_oneof![
        Just(How::Consume),
        Just(How::Retry),
        Just(How::Run),
        (0u8..12).prop_map(How::Each),
        (0u8..12).prop_map(How::Each),
    ];
    prop_oneof![
        20 => writes(),
        2 => (0u64..4000, writes()).prop_map(|(stores, op)| Op::Kill(stores, Box::new(op))),
        1 => Just(Op::TakeOver),
        2 => (0u8..5, from).prop_map(|(slot, from)| Op::Join(slot, from)),
        1 => (0u8..5).prop_map(Op::Leave),
        16 => (0u8..5, 0u8..40, how).prop_map(|(slot, limit, how)| Op::Poll(slot, limit, how)),
    ]
}

/// What was written, each with its offset, or the one that came next.
type Model = Vec<(u64, Seen)>;

/// A reader and what is due to it.
struct Follower {
    reader: Reader,
    seat: Option<Seat>,
    /// Index in the model; `None` before the first frame, where that may be any from here on.
    due: Option<usize>,
    /// Still before the offset where it wants to start.
    passing: bool,
}

impl Follower {
    fn check(&mut self, model: &Model, seen: &Seen) {
        if let (true, true, Some(due)) = (self.passing, is_control(seen), self.due)
            && model[..due].iter().any(|(_, other)| other == seen)
        {
            // Control frames that lie before the start in its block come, too.
            return;
        }
        self.passing = false;
        if let Seen::Lost { from, to, cause: None } = seen {
            let due = self.due.expect("who has seen nothing has lost nothing");
            assert!(self.seat.is_none(), "a gated reader lost {from} to {to}");
            // Losses start where a message or a gap was due.
            let due = (due..model.len()).find(|at| !is_control(&model[*at].1));
            assert_eq!(due.map(|at| model[at].0), Some(*from));
            self.due = Some(model.partition_point(|(offset, _)| offset <= to));
            assert_ne!(self.due, Some(model.len()), "nothing stands behind the loss");
            return;
        }
        let mut at = match self.due {
            Some(due) => due,
            None => model.iter().position(|(_, other)| other == seen).expect("it was written"),
        };
        // Control frames may be lost without a word; others are named.
        while self.seat.is_none() && is_control(&model[at].1) && model[at].1 != *seen {
            at += 1;
        }
        assert_eq!(model[at].1, *seen);
        self.due = Some(at + 1);
    }

    fn poll(&mut self, log: &Log, model: &Model, limit: u8, how: How) {
        let seen = match how {
            How::Each(every) => self.take_each(log, limit.into(), every.into()),
            _ => self.take(log, limit, how),
        };
        for seen in seen {
            self.check(model, &seen);
        }
        let (position, offset) = (self.reader.position(), self.reader.offset());
        if let Some(seat) = &mut self.seat {
            seat.store(position, offset);
        }
    }

    /// As a subscriber's poll does it.
    fn take_each(&mut self, log: &Log, limit: usize, every: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        let (mut left, mut calls) = (limit, 0);
        while left > 0 {
            let (at, from) = (self.reader.position(), self.reader.offset());
            let (taken, end) = self.reader.each_message(left, |message| {
                calls += 1;
                if every > 0 && calls % (every + 3) == 0 {
                    return ControlFlow::Break(false);
                }
                seen.push(Seen::from(Frame::Message(message)));
                if every > 0 && calls % every == 0 {
                    return ControlFlow::Break(true);
                }
                ControlFlow::Continue(())
            });
            assert!(self.reader.position() >= at);
            assert_eq!(self.reader.offset(), from + taken as u64);
            left -= taken;
            if end != End::Unusual {
                break;
            }
            match self.reader.peek().map(|frame| frame.map(Seen::from)) {
                Ok(None) => {
                    assert!(!self.reader.open());
                    break;
                }
                Ok(Some(frame)) => {
                    if self.reader.open() {
                        continue;
                    }
                    seen.push(frame);
                    // As a subscriber, who looks again before it goes past.
                    assert!(self.reader.peek().is_ok_and(|frame| frame.is_some()));
                    self.reader.consume();
                    left -= 1;
                    self.reader.open();
                }
                Err(stall) => self.recover(log, stall),
            }
        }
        seen
    }

    fn recover(&mut self, log: &Log, stall: Stall) {
        assert!(stall == Stall::Overrun && self.seat.is_none(), "{stall:?}");
        self.reader.restart(log.newest().saturating_sub(log.ring.blocks() / 2));
    }

    /// Frame by frame.
    fn take(&mut self, log: &Log, limit: u8, how: How) -> Vec<Seen> {
        let mut seen = Vec::new();
        for _ in 0..limit {
            match self.reader.peek() {
                Ok(None) => break,
                Ok(Some(Frame::Message(_))) if matches!(how, How::Run) => {
                    let run = self.reader.run().take(usize::from(limit) / 2);
                    seen.extend(run.map(|message| Seen::from(Frame::Message(message))));
                }
                Ok(Some(frame)) => {
                    seen.push(Seen::from(frame));
                    if matches!(how, How::Retry) {
                        let again = self.reader.peek().map(|frame| frame.map(Seen::from));
                        assert_eq!(again, Ok(seen.last().cloned()));
                    }
                    self.reader.consume();
                }
                Err(stall) => self.recover(log, stall),
            }
        }
        seen
    }
}

fn is_control(seen: &Seen) -> bool {
    matches!(seen, Seen::Control(_))
}

struct World {
    log: Log,
    writer: Writer,
    model: Model,
    /// The first three gate, the first two of these in place.
    followers: [Option<Follower>; 5],
    controls: u64,
}

impl World {
    /// What `op` adds to the log where nobody is in the way and it is done to its end.
    fn planned(&self, op: &Op) -> Model {
        let first = self.writer.offset();
        match op {
            Op::Publish(length) | Op::Claim(length, true) => vec![(first, message(first, *length))],
            Op::Claim(_, false) => Vec::new(),
            Op::Batch(lengths) => {
                (first..).zip(lengths).map(|(at, length)| (at, message(at, *length))).collect()
            }
            Op::Gap(count) => {
                let to = first + count - 1;
                vec![(first, Seen::Lost { from: first, to, cause: Some(4) })]
            }
            Op::Control(length) => {
                let bytes = payload((self.controls + 1) << 40, 8 + length);
                vec![(first, Seen::Control(Bytes(bytes)))]
            }
            _ => unreachable!("not a write"),
        }
    }

    /// What `op` adds to the log, done by the writer.
    fn write(&mut self, op: &Op) -> Result<Model, Blocked> {
        let mut planned = self.planned(op);
        let writer = &mut self.writer;
        let first = writer.offset();
        match op {
            Op::Publish(length) => {
                writer.try_publish(first, &payload(first, *length)[..])?;
            }
            Op::Batch(lengths) => {
                let payloads: Vec<_> =
                    (first..).zip(lengths).map(|(at, length)| payload(at, *length)).collect();
                let batch: Vec<_> = (first..).zip(payloads.iter().map(Vec::as_slice)).collect();
                let count = writer.try_publish_batch(&batch)?;
                assert!(count >= 1);
                planned.truncate(count);
            }
            Op::Claim(length, ends) => {
                writer.try_claim(*length)?;
                let bytes = payload(first, *length);
                let (front, back) = bytes.split_at(bytes.len() / 2);
                writer.put(front.len() as u64, back);
                if *ends {
                    writer.put(0, front);
                    writer.commit_claim(first, *length);
                }
            }
            Op::Gap(count) => writer.try_publish_gap(first, first + count - 1, 4)?,
            Op::Control(length) => {
                self.controls += 1;
                let bytes = payload(self.controls << 40, 8 + length);
                writer.try_publish_control(first, &bytes)?;
            }
            _ => unreachable!("not a write"),
        }
        Ok(planned)
    }

    /// Who is named is the slowest of those that gate, and in a block that is needed.
    fn check_blocked(&mut self, blocked: Blocked) {
        let mut cursors = Vec::new();
        for (slot, follower) in self.followers.iter_mut().enumerate() {
            if let Some(follower) = follower
                && follower.seat.is_some()
            {
                cursors.push((follower.reader.position(), slot));
            }
        }
        let slowest = cursors.iter().min().expect("someone gates").0;
        assert!(cursors.contains(&(blocked.cursor, blocked.slot)));
        assert_eq!(slowest, blocked.cursor);
        assert!(blocked.cursor + self.log.ring.bytes_len() < self.log.reserved());
    }

    fn take_over(&mut self) {
        let mut writer = self.log.take_over().expect("sound");
        while let Err(blocked) = writer.close_train() {
            self.check_blocked(blocked);
            let follower = self.followers[blocked.slot].as_mut().expect("it gates");
            follower.poll(&self.log, &self.model, u8::MAX, How::Consume);
        }
        self.writer = writer;
    }

    fn join(&mut self, slot: u8, from: From) {
        self.leave(slot);
        let log = &self.log;
        if self.model.is_empty() {
            return;
        }
        let newest = log.newest();
        let earliest = seek::earliest(&log.ring, log.reserved()).expect("entered");
        let (start, due) = match from {
            From::Live => (log.live(), Some(self.model.len())),
            From::Earliest => (log.earliest(None), None),
            From::Offset(back) => {
                let at = self.model.len() - 1 - usize::from(back) % self.model.len();
                let Some(at) = (at..self.model.len()).find(|at| !is_control(&self.model[*at].1))
                else {
                    return;
                };
                let offset = self.model[at].0;
                let number = seek::by_offset(&log.ring, earliest, newest, offset);
                let position = block_start(number);
                let start = Start { position, offset: 0, due: Some(offset), joining: true };
                (start, Some(at))
            }
        };
        let mut seat = (slot < 3).then(|| log.seat(usize::from(slot)));
        if let Some(seat) = &mut seat
            && (seat.join(start.position).is_err() || matches!(from, From::Offset(_)))
        {
            // Covered, or a start that may come with a loss: neither is for who gates.
            seat.leave();
            return;
        }
        let reader = if slot < 2 { log.in_place(start) } else { log.copied(start) };
        self.followers[usize::from(slot)] = Some(Follower { reader, seat, due, passing: true });
    }

    fn leave(&mut self, slot: u8) {
        if let Some(follower) = self.followers[usize::from(slot)].take()
            && let Some(mut seat) = follower.seat
        {
            seat.leave();
        }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Kill(stores, op) => {
                let planned = self.planned(op);
                let done = kill::after(*stores, || self.write(op));
                self.take_over();
                let written = match done {
                    Some(Ok(written)) => written,
                    Some(Err(_)) => Vec::new(),
                    // Who died behind the commit, zeroing lines ahead, has published.
                    None if matches!(**op, Op::Control(_)) => {
                        let mut reader = self.log.copied(self.log.earliest(None));
                        let last = drain(&mut reader).expect("sound").pop();
                        planned
                            .into_iter()
                            .filter(|(_, seen)| last.as_ref() == Some(seen))
                            .collect()
                    }
                    None => {
                        let end = self.writer.offset();
                        planned.into_iter().filter(|(offset, _)| *offset < end).collect()
                    }
                };
                self.model.extend(written);
            }
            Op::TakeOver => self.take_over(),
            Op::Join(slot, from) => self.join(*slot, *from),
            Op::Leave(slot) => self.leave(*slot),
            Op::Poll(slot, limit, how) => {
                if let Some(follower) = &mut self.followers[usize::from(*slot)] {
                    follower.poll(&self.log, &self.model, *limit, *how);
                }
            }
            write => match self.write(write) {
                Ok(written) => self.model.extend(written),
                Err(blocked) => self.check_blocked(blocked),
            },
        }
        let next = self.model.last().map_or(0, |(offset, seen)| match seen {
            Seen::Message { .. } => offset + 1,
            Seen::Lost { to, .. } => to + 1,
            Seen::Control(_) => *offset,
        });
        assert_eq!(self.writer.offset(), next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn readers_see_what_the_model_holds(ops in prop::collection::vec(ops(), 1..250)) {
        let log = Log::dirty(RING_BYTES);
        let writer = log.writer();
        let followers = [None, None, None, None, None];
        let mut world = World { log, writer, model: Vec::new(), followers, controls: 0 };
        for op in &ops {
            world.step(op);
        }
        // In the end everyone gets the rest.
        for slot in 0..5 {
            for _ in 0..=ops.len() * 30 / 200 {
                world.step(&Op::Poll(slot, 200, How::Consume));
            }
            if let Some(follower) = &mut world.followers[usize::from(slot)]
                && let Some(due) = follower.due
            {
                let rest = &world.model[due.min(world.model.len())..];
                prop_assert!(rest.iter().all(|(_, seen)| is_control(seen)), "{} left", rest.len());
                prop_assert!(follower.seat.is_none() || rest.is_empty());
            }
        }
        let position = world.log.reserved();
        prop_assert!(is_edge(position) && position.is_multiple_of(BLOCK_BYTES));
    }
}
