//! From the ring to the disk: what is written when, and what is known to be durable.
//!
//! Full blocks are written as they come, several at a time. A *commit* writes everything that is
//! committed, up to a block that is not full, with a checkpoint, and flushes. Between the two and
//! until the flush has returned nothing else is asked for, so that of the two slots of a block at
//! least one is durable together with all that it speaks of.
//!
//! What was written is never changed, only added to, and there is never more than one request about
//! a page: whatever part of the unflushed writes a power cut leaves, what was durable before it is
//! as it was.
//!
//! A block that is not full goes out without a commit only under [`SyncPolicy::None`], and only
//! where nothing of it is durable: its next checkpoint would go where the durable one is. For the
//! same reason whatever a journal before this one left is made durable first.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::journal::disk::{Completion, Disk, Part};
use crate::journal::requests::{Request, Requests, What};
use crate::journal::stage::{Mark, Piece, Stage, WINDOW_BLOCKS};
use crate::journal::status::{JournalState, Status};
use crate::journal::tap::{Place, Tap};
use crate::log::block::{BLOCK_BYTES, block_of, block_start, is_edge};
use crate::log::lane::Stop;
use crate::log::walk::Damaged;

/// Blocks that are written together at most: larger writes gain nothing.
const CHUNK_BLOCKS: u64 = 4;

/// Chunks that are under way at a time, outside of commits: while the disk is busy with these,
/// blocks gather for a larger one.
const CHUNKS_UNDER_WAY: usize = 12;

/// While so many are, a chunk waits until it is whole: a flood goes out in large writes, and what
/// comes now and then at once.
const SMALL_CHUNKS: usize = 4;

/// How long a block that is not full waits to be written where it is not to be durable.
const LINGER: Duration = Duration::from_millis(10);

/// After so long with nothing new, one more checkpoint says how much is durable.
const SETTLE: Duration = Duration::from_millis(100);

/// How long after a refusal the disk is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// When what was published is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// When a segment is full, and when the journal is closed. The disk gets everything at once all
    /// the same; what it has not written when the power fails is lost. The death of a process loses
    /// nothing.
    #[default]
    None,
    /// After at most so long, and before more than half of the ring waits for it.
    Interval(Duration),
    /// At once. What is published while the disk is busy goes together.
    Always,
}

/// Why a journal cannot go on.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    /// It was in the publisher's way for too long.
    #[error("the publisher went on without the journal, which was too slow")]
    Evicted,
    /// The ring holds something that no publisher writes.
    #[error(transparent)]
    Damaged(Damaged),
    /// What was written since the last flush may or may not be on the disk. A journal that is
    /// started now writes it again.
    #[error("cannot make the journal durable: {0}")]
    Flush(io::Error),
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Fault {
        match stop {
            Stop::Evicted => Fault::Evicted,
            Stop::Damaged(damaged) => Fault::Damaged(damaged),
        }
    }
}

/// Where a journal goes on.
#[derive(Debug)]
pub(crate) struct Begin<S> {
    /// The segment that is written to next, and its first block; `None` where there is none yet.
    pub(crate) segment: Option<(S, u64)>,
    /// The end of what was written.
    pub(crate) end: Place,
    pub(crate) durable: Place,
    /// The durable position that a checkpoint says which is durable itself.
    pub(crate) told: u64,
    /// Sequence of the newest checkpoint.
    pub(crate) sequence: u64,
}

/// Writes the log of one partition.
#[derive(Debug)]
pub(crate) struct Writer<D: Disk> {
    disk: D,
    tap: Tap,
    /// Position that this journal goes on with.
    begun: u64,
    policy: SyncPolicy,
    /// Everything is to be made durable at once, whatever the policy says.
    is_settling: bool,
    status: Status,
    stage: Stage,
    sequence: u64,
    current: Option<(D::Segment, u64)>,
    next: Next<D::Segment>,
    requests: Requests<D::Segment>,
    /// What is under way, in the order of the log.
    chunks: VecDeque<Chunk>,
    chunk_id: u64,
    submitted: Place,
    written: Place,
    /// As far as the status page says what was written.
    shown: Place,
    /// The end of what the last good flush was for: the same as `durable` without doubts.
    flushed: Place,
    durable: Place,
    /// The durable position that the newest checkpoint says.
    marked: u64,
    /// The one that the newest durable checkpoint says.
    told: u64,
    /// Set from the writes of a commit to its flush.
    commit: Option<Commit>,
    flush: Option<Flush>,
    /// Segments that hold what is not durable.
    unflushed: Vec<Unflushed<D::Segment>>,
    /// A flush failed, and what was written before it is gone from the ring: nothing is promised
    /// any more, until a journal that is started anew has written it again.
    is_doubtful: bool,
    /// Since when something has waited to be committed, or a block that is not full to be written.
    waits_since: Option<Duration>,
    /// When something new came last.
    moved_at: Duration,
    is_failing: bool,
    /// The last flush failed.
    has_failed_flush: bool,
    /// Requests that the disk refused, and when they are asked for again.
    refused: Vec<u64>,
    retry_at: Duration,
    /// Whether the next segment was refused, and when it is asked for again: what there is room for
    /// goes on meanwhile.
    has_no_room: bool,
    prepare_at: Duration,
    now: Duration,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Next<S> {
    Unasked,
    /// One that begins with this block.
    Asked(u64),
    Ready(S, u64),
}

/// Writes of neighbouring blocks.
#[derive(Debug)]
struct Chunk {
    id: u64,
    /// Requests that are not over.
    left: u32,
    end: Place,
}

#[derive(Debug, Clone, Copy)]
struct Commit {
    target: Place,
    /// The durable position that its checkpoints say.
    tells: u64,
}

#[derive(Debug, Clone)]
struct Unflushed<S> {
    segment: S,
    /// Set once it is full: what flushing it makes durable.
    full: Option<Commit>,
}

impl<S> Unflushed<S> {
    fn new(segment: S) -> Unflushed<S> {
        Unflushed { segment, full: None }
    }
}

#[derive(Debug)]
struct Flush {
    commit: Commit,
    left: usize,
    error: Option<io::Error>,
}

impl<D: Disk> Writer<D> {
    /// `stage` has the block that `begin.end` lies in.
    pub(crate) fn new(
        disk: D,
        tap: Tap,
        status: Status,
        policy: SyncPolicy,
        stage: Stage,
        begin: Begin<D::Segment>,
    ) -> Writer<D> {
        let Begin { segment, end, durable, told, sequence } = begin;
        let unflushed =
            segment.iter().map(|(segment, _)| Unflushed::new(segment.clone())).collect();
        status.set_written(end);
        status.set_told(told);
        status.set_durable(durable);
        status.set_state(JournalState::Running);
        Writer {
            disk,
            tap,
            begun: end.position,
            policy,
            is_settling: false,
            status,
            stage,
            sequence,
            current: segment,
            next: Next::Unasked,
            requests: Requests::new(),
            chunks: VecDeque::new(),
            chunk_id: 0,
            submitted: end,
            written: end,
            shown: end,
            // What lies before is flushed, or was never written.
            flushed: end,
            durable,
            marked: told,
            told,
            commit: None,
            flush: None,
            unflushed,
            is_doubtful: false,
            waits_since: None,
            moved_at: Duration::ZERO,
            is_failing: false,
            has_failed_flush: false,
            refused: Vec::new(),
            retry_at: Duration::ZERO,
            has_no_room: false,
            prepare_at: Duration::ZERO,
            now: Duration::ZERO,
            pieces: Vec::new(),
        }
    }

    /// Does what can be done now, and returns how much that was. `now` is the time since whenever.
    ///
    /// # Errors
    /// [`Fault`]: nothing more is written.
    pub(crate) fn poll(&mut self, now: Duration) -> Result<usize, Fault> {
        self.now = now;
        let mut work = 0;
        while let Some(completion) = self.disk.completed() {
            self.complete(completion)?;
            work += 1;
        }
        // Behind the completions: what was written before the publisher went on without this
        // journal was not overwritten meanwhile.
        if self.tap.is_evicted() {
            return Err(Fault::Evicted);
        }
        self.show_written();
        if self.tap.advance()? {
            self.moved_at = now;
            work += 1;
        }
        self.prepare_next();
        self.ask_again();
        if self.commit.is_some() {
            self.flush_commit();
        } else {
            work += self.write()?;
        }
        Ok(work)
    }

    /// Whether everything that was published so far is durable, and says so itself; where nothing
    /// can be promised any more, whether the disk has it.
    pub(crate) fn is_settled(&self) -> bool {
        let position = self.tap.committed().position;
        self.commit.is_none()
            && self.flushed.position == position
            && (self.told == self.durable.position || self.is_doubtful)
    }

    /// Makes everything durable that was published so far. To be polled, and then again until it is
    /// settled.
    pub(crate) fn settle(&mut self) {
        self.is_settling = true;
        self.moved_at = Duration::ZERO;
    }

    /// Holds the publisher up no more.
    pub(crate) fn leave(&mut self) {
        self.tap.leave();
    }

    // ---- what is over

    fn complete(&mut self, completion: Completion) -> Result<(), Fault> {
        let Completion { id, result } = completion;
        let request = self.requests.get_mut(id);
        match (&mut request.what, result) {
            (What::Flush, result) => {
                self.requests.remove(id);
                return self.flushed(result.err());
            }
            (What::Write { chunk, .. }, Ok(bytes)) => {
                let chunk = *chunk;
                if request.what.pass(bytes) {
                    self.ask(id);
                    return Ok(());
                }
                self.requests.remove(id);
                self.wrote(chunk);
                self.succeed();
            }
            (What::Write { position, .. }, Err(error)) => {
                let position = *position;
                log::error!("cannot write the journal at position {position}: {error}");
                self.status.add_error(&error, position);
                self.refused.push(id);
                self.fail();
                self.retry_at = self.now + RETRY;
            }
        }
        Ok(())
    }

    fn wrote(&mut self, id: u64) {
        let first = self.chunks.front().map_or(id, |chunk| chunk.id);
        self.chunks[(id - first) as usize].left -= 1;
        while let Some(chunk) = self.chunks.front()
            && chunk.left == 0
        {
            self.written = chunk.end;
            self.chunks.pop_front();
        }
    }

    fn show_written(&mut self) {
        // Where a flush failed, what is written anew lies before what the files have all the same.
        if self.written.position <= self.shown.position {
            return;
        }
        self.shown = self.written;
        self.status.set_written(self.written);
        if self.policy == SyncPolicy::None {
            self.tap.release(self.written);
        }
    }

    fn flushed(&mut self, error: Option<io::Error>) -> Result<(), Fault> {
        let flush = self.flush.as_mut().expect("a flush that was asked for");
        flush.left -= 1;
        flush.error = flush.error.take().or(error);
        if flush.left > 0 {
            return Ok(());
        }
        let Flush { commit, error, .. } = self.flush.take().expect("it was looked at");
        if self.commit.is_some_and(|open| open.target == commit.target) {
            self.commit = None;
        }
        if let Some(error) = error {
            return self.rewind(error);
        }
        self.has_failed_flush = false;
        self.succeed();
        self.flushed = commit.target;
        if !self.is_doubtful {
            self.durable = commit.target;
            self.told = commit.tells;
            self.status.set_told(self.told);
            self.status.set_durable(self.durable);
        }
        if self.policy != SyncPolicy::None {
            self.tap.release(self.durable);
        }
        Ok(())
    }

    /// A flush failed: nothing since the last good one is believed. It is written again, from the
    /// ring into a fresh segment, where the ring still has it.
    fn rewind(&mut self, error: io::Error) -> Result<(), Fault> {
        self.status.add_error(&error, self.durable.position);
        self.fail();
        let is_first = !std::mem::replace(&mut self.has_failed_flush, true);
        self.retry_at = self.now + RETRY;
        if self.policy == SyncPolicy::None {
            log::error!(
                "cannot make the journal durable, and nothing in it is from now on: {error}"
            );
            self.is_doubtful = true;
            return Ok(());
        }
        debug_assert!(self.chunks.is_empty(), "only a commit is flushed, and once it is written");
        let number = block_of(self.durable.position.max(self.begun));
        let segments = self.disk.segments().map_err(Fault::Flush)?;
        if is_first && !is_edge(self.durable.position) && segments.contains(&number) {
            // A fresh segment would take the name of the one that holds what is durable. Where
            // there is a fresh one already, what is durable lies in another one.
            return Err(Fault::Flush(error));
        }
        log::error!(
            "cannot make the journal durable: {error}; writing it again to another segment"
        );
        self.stage.restart();
        self.submitted = self.tap.edge(number);
        self.written = self.submitted;
        self.current = None;
        self.unflushed.clear();
        // Segments behind the fresh one would be taken for newer. They are gone for good before
        // anything is written to that: it is made ready after this.
        let asked = match &self.next {
            Next::Asked(first) => Some(*first),
            Next::Ready(_, first) if *first == number => None,
            Next::Ready(..) | Next::Unasked => {
                self.next = Next::Unasked;
                None
            }
        };
        for first in segments {
            if first > number && Some(first) != asked {
                self.disk.remove(first).map_err(Fault::Flush)?;
            }
        }
        Ok(())
    }

    // ---- what is to be done

    /// Writes what is there, as the policy says. Returns how much was asked for.
    fn write(&mut self) -> Result<usize, Fault> {
        let committed = self.tap.committed();
        let mut work = 0;
        if self.retry_at > self.now {
            return Ok(0);
        }
        let end = block_floor(committed);
        while self.has_room_for_chunk(end) && self.write_chunk(end)? {
            work += 1;
        }
        let has_rest = committed.position > self.submitted.position;
        let is_quiet = self.now.saturating_sub(self.moved_at) >= SETTLE;
        match self.policy {
            _ if self.is_settling => {}
            SyncPolicy::None => {
                if self.flush.is_none() {
                    self.flush_full_segments();
                }
                let is_behind = block_floor(committed) > self.submitted.position;
                if has_rest && !is_behind && self.has_waited(LINGER) {
                    if self.durable.position > block_floor(self.submitted) {
                        work += self.begin_commit(committed)?;
                    } else {
                        work += usize::from(self.write_chunk(committed.position)?);
                    }
                    self.waits_since = None;
                }
                return Ok(work);
            }
            SyncPolicy::Interval(interval) => {
                let waiting = committed.position - self.flushed.position;
                let is_due = waiting > 0
                    && (self.has_waited(interval) || waiting > self.tap.ring().bytes_len() / 2);
                if !is_due && (!is_quiet || has_rest) {
                    return Ok(work);
                }
            }
            SyncPolicy::Always => {}
        }
        if has_rest || committed.position > self.flushed.position {
            work += self.begin_commit(committed)?;
        } else if is_quiet && self.told < self.durable.position && self.chunks.is_empty() {
            work += self.tell();
        }
        Ok(work)
    }

    /// Whether it is so long ago that this was asked first, since the last commit.
    fn has_waited(&mut self, how_long: Duration) -> bool {
        self.now.saturating_sub(*self.waits_since.get_or_insert(self.now)) >= how_long
    }

    fn begin_commit(&mut self, committed: Place) -> Result<usize, Fault> {
        let mut work = 0;
        while self.write_chunk(committed.position)? {
            work += 1;
        }
        if work > 0 || self.submitted.position > self.flushed.position {
            self.waits_since = None;
            self.commit(self.submitted);
        }
        Ok(work)
    }

    /// Flushes everything up to `target`, once it is written.
    fn commit(&mut self, target: Place) {
        self.commit = Some(Commit { target, tells: self.marked });
        self.flush_commit();
    }

    /// Writes one more checkpoint, which says how much is durable.
    fn tell(&mut self) -> usize {
        let Some((number, used)) = self.stage.last() else {
            self.told = self.durable.position;
            return 0;
        };
        self.begin_chunk();
        self.add_block(number, used);
        self.end_chunk(self.submitted);
        self.commit(self.submitted);
        1
    }

    /// Whether one more chunk may be under way, as large as those that end at `end` are by now.
    fn has_room_for_chunk(&self, end: u64) -> bool {
        let under_way = self.chunks.len();
        let blocks = block_of(end).saturating_sub(block_of(self.submitted.position));
        under_way < SMALL_CHUNKS || (under_way < CHUNKS_UNDER_WAY && blocks >= CHUNK_BLOCKS)
    }

    /// Writes neighbouring blocks up to `end`, at most so many that other chunks can be under way
    /// beside them. Returns whether there was anything that could be written.
    fn write_chunk(&mut self, end: u64) -> Result<bool, Fault> {
        let from = self.submitted.position;
        let number = block_of(from);
        if end <= from || !self.has_segment(number) {
            return Ok(false);
        }
        // Of a block that was begun, everything must be over that was asked for.
        let window = self.chunks.front().map_or(number, |_| block_of(self.written.position));
        if (self.stage.is_partly_used(number) && !self.chunks.is_empty())
            || number >= window + WINDOW_BLOCKS - CHUNK_BLOCKS
        {
            return Ok(false);
        }
        let (_, first) = self.current.as_ref().expect("there is a segment");
        let limit = (number + CHUNK_BLOCKS).min(first + self.disk.segment_blocks());
        let end = end.min(block_start(limit));
        self.begin_chunk();
        let mut at = number;
        while block_start(at) < end {
            let used = (end - block_start(at)).min(BLOCK_BYTES);
            self.add_block(at, used);
            if used == BLOCK_BYTES {
                // What no reader and no recovery could go past is not written.
                self.tap.check_full_block(at)?;
            }
            at += 1;
        }
        let committed = self.tap.committed();
        let end = if end == committed.position { committed } else { self.tap.edge(block_of(end)) };
        self.end_chunk(end);
        Ok(true)
    }

    fn begin_chunk(&mut self) {
        self.chunk_id += 1;
        self.chunks.push_back(Chunk { id: self.chunk_id, left: 0, end: self.submitted });
    }

    fn end_chunk(&mut self, end: Place) {
        self.write_pieces();
        self.chunks.back_mut().expect("it was begun").end = end;
        self.submitted = end;
    }

    /// Stages a block up to `used` bytes, behind what was staged for this chunk.
    fn add_block(&mut self, number: u64, used: u64) {
        self.sequence += 1;
        self.marked = self.durable.position;
        let mark = Mark { durable: self.marked, sequence: self.sequence };
        let staged = self.pieces.len();
        self.stage.add(self.tap.ring(), number, used, mark, &mut self.pieces);
        for (at, _) in &mut self.pieces[staged..] {
            *at += block_start(number);
        }
    }

    /// Asks for what was staged, each run of neighbouring pages at once.
    fn write_pieces(&mut self) {
        let (segment, first) = self.current.clone().expect("there is a segment");
        let origin = block_start(first);
        let pieces = std::mem::take(&mut self.pieces);
        let mut rest = &pieces[..];
        while let Some((position, _)) = rest.first() {
            let mut end = *position;
            let run = rest.iter().take_while(|(at, part)| {
                let follows = *at == end;
                end += part.bytes;
                follows
            });
            let (run, behind) = rest.split_at(run.count());
            let mut parts: Vec<Part> = self.requests.list();
            parts.extend(run.iter().map(|(_, part)| part.clone()));
            let (at, chunk, position) = (position - origin, self.chunk_id, *position);
            let what = What::Write { at, parts, chunk, position };
            let id = self.requests.add(Request { segment: segment.clone(), what });
            self.chunks.back_mut().expect("it was begun").left += 1;
            self.ask(id);
            rest = behind;
        }
        self.pieces = pieces;
        self.pieces.clear();
    }

    /// Asks for a request, for the first time or again.
    fn ask(&mut self, id: u64) {
        let Request { segment, what } = self.requests.get_mut(id);
        match what {
            What::Write { at, parts, .. } => self.disk.write(id, segment, *at, parts),
            What::Flush => self.disk.flush(id, segment),
        }
    }

    fn ask_again(&mut self) {
        if self.now >= self.retry_at {
            for id in std::mem::take(&mut self.refused) {
                self.ask(id);
            }
        }
    }

    // ---- flushing

    /// Flushes what the commit has written, once all of it is.
    fn flush_commit(&mut self) {
        let Some(commit) = self.commit else { return };
        if self.chunks.is_empty() && self.flush.is_none() {
            let full = self.unflushed.len().saturating_sub(1);
            let segments: Vec<_> = self.unflushed.drain(..full).collect();
            let last = self.unflushed.first().cloned();
            self.begin_flush(commit, segments.into_iter().chain(last));
        }
    }

    /// Flushes segments that are full and written.
    fn flush_full_segments(&mut self) {
        let is_written = |segment: &Unflushed<D::Segment>| {
            segment.full.is_some_and(|commit| commit.target.position <= self.written.position)
        };
        let count = self.unflushed.iter().take_while(|segment| is_written(segment)).count();
        let full: Vec<_> = self.unflushed.drain(..count).collect();
        if let Some(commit) = full.last().and_then(|segment| segment.full) {
            self.begin_flush(commit, full.into_iter());
        }
    }

    fn begin_flush(
        &mut self,
        commit: Commit,
        segments: impl Iterator<Item = Unflushed<D::Segment>>,
    ) {
        let mut left = 0;
        for Unflushed { segment, .. } in segments {
            let id = self.requests.add(Request { segment, what: What::Flush });
            self.ask(id);
            left += 1;
        }
        debug_assert!(left > 0, "something was written");
        self.flush = Some(Flush { commit, left, error: None });
    }

    // ---- segments

    /// Whether there is a segment for block `number`. Otherwise it is asked for.
    fn has_segment(&mut self, number: u64) -> bool {
        let blocks = self.disk.segment_blocks();
        if self.current.as_ref().is_some_and(|(_, first)| number < first + blocks) {
            return true;
        }
        match std::mem::replace(&mut self.next, Next::Unasked) {
            Next::Ready(segment, first) if first == number => {
                if let Some(before) = self.unflushed.last_mut() {
                    before.full = Some(Commit { target: self.submitted, tells: self.marked });
                }
                self.unflushed.push(Unflushed::new(segment.clone()));
                self.current = Some((segment, first));
                self.prepare(number + blocks);
                true
            }
            Next::Asked(first) => {
                self.next = Next::Asked(first);
                false
            }
            next => {
                if let Next::Ready(segment, first) = next {
                    drop(segment);
                    self.remove(first);
                }
                if self.now >= self.prepare_at {
                    self.prepare(number);
                }
                false
            }
        }
    }

    /// Removes a segment that is no longer wanted: it would be taken for newer than the one that
    /// is.
    fn remove(&mut self, first: u64) {
        if let Err(error) = self.disk.remove(first) {
            log::error!("cannot remove the journal's segment of block {first}: {error}");
        }
    }

    fn prepare(&mut self, first: u64) {
        self.disk.prepare(first);
        self.next = Next::Asked(first);
    }

    /// Sees to it that there is a segment behind the current one before it is needed.
    fn prepare_next(&mut self) {
        match (&self.next, &self.current) {
            (Next::Asked(first), _) => {
                let first = *first;
                match self.disk.prepared() {
                    None => {}
                    Some(Ok(segment)) => {
                        self.next = Next::Ready(segment, first);
                        self.has_no_room = false;
                        self.succeed();
                    }
                    Some(Err(error)) => {
                        log::error!("cannot make the journal's next segment: {error}");
                        self.status.add_error(&error, block_start(first));
                        self.next = Next::Unasked;
                        self.has_no_room = true;
                        self.prepare_at = self.now + RETRY;
                        self.fail();
                    }
                }
            }
            (Next::Unasked, Some((_, first))) if self.now >= self.prepare_at => {
                let next = first + self.disk.segment_blocks();
                self.prepare(next);
            }
            _ => {}
        }
    }

    // ---- how it is

    /// The disk has refused something.
    fn fail(&mut self) {
        self.status.set_state(JournalState::Failing);
        self.is_failing = true;
    }

    /// The disk has done something.
    fn succeed(&mut self) {
        let is_well = self.refused.is_empty()
            && !self.has_no_room
            && !self.has_failed_flush
            && !self.is_doubtful;
        if self.is_failing && is_well {
            self.is_failing = false;
            self.status.set_state(JournalState::Running);
        }
    }
}

/// The end of the last block that is full.
fn block_floor(place: Place) -> u64 {
    place.position - place.position % BLOCK_BYTES
}
