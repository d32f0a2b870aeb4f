//! The bare loops, the limits of the disk: pages that lie ready are written, or read to where
//! nobody looks at them, by io_uring. The `unsafe` of all this is here.
use std::fs::File;
use std::hint::{black_box, spin_loop};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use memmap2::{Advice, MmapMut, MmapRaw};
use serde::Serialize;

/// Requests under way at most, flushes among them.
const ENTRIES: u32 = 64;
/// As much as the largest of [`REQUESTS`] need.
const MEMORY_BYTES: usize = 16 << 20;
/// What is written together when it is to be durable.
const PAGE_BYTES: u32 = 4096;
/// What the other core fills at a time: a message.
const MESSAGE_BYTES: usize = 1024;
/// Slots that the other core fills: with requests of 1 MiB as much as the ring that is journaled.
const SLOTS_FED: u32 = 8;
/// The number of a request that is a flush.
const FLUSH: u64 = u64::MAX;

/// How long the search for the best request may take before it is content.
const SEARCH: Duration = Duration::from_secs(2);

/// What is tried to find the best.
const REQUESTS: [Request; 9] = [
    Request { bytes: 64 << 10, depth: 4 },
    Request { bytes: 64 << 10, depth: 8 },
    Request { bytes: 64 << 10, depth: 16 },
    Request { bytes: 256 << 10, depth: 4 },
    Request { bytes: 256 << 10, depth: 8 },
    Request { bytes: 256 << 10, depth: 16 },
    Request { bytes: 1 << 20, depth: 4 },
    Request { bytes: 1 << 20, depth: 8 },
    Request { bytes: 1 << 20, depth: 16 },
];

/// How the disk is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Request {
    pub(super) bytes: u32,
    /// How many are under way.
    pub(super) depth: u32,
}

impl Request {
    pub(super) fn name(self) -> String {
        format!("{} KiB x {}", self.bytes >> 10, self.depth)
    }

    /// The bytes of `spans` that are in whole requests.
    fn whole_bytes(self, spans: &[Span<'_>]) -> f64 {
        let bytes = u64::from(self.bytes);
        spans.iter().map(|span| span.bytes / bytes * bytes).sum::<u64>() as f64
    }
}

/// Where what is written lies, and what is read goes. From huge pages the disk takes larger pieces,
/// which makes some of them twice as fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// As a ring's.
    Small,
    /// Where the kernel grants them.
    Huge,
}

/// What is done to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Read,
    Write,
    /// Each file is made durable once it is written, while the next one goes on.
    WriteAndFlush,
    /// The same, and the CRC-32C of what is written is computed before.
    CheckWriteAndFlush,
    /// The same, of what another core fills meanwhile, the [`Feeder`].
    FeedCheckWriteAndFlush,
}

/// The beginning of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) file: &'a File,
    pub(super) bytes: u64,
}

/// What asks the disk.
pub(super) struct Direct {
    ring: IoUring,
    memory: Arc<Memory>,
    /// Requests that are staged or under way.
    open: u32,
    /// The kernel did not take what is staged.
    is_broken: bool,
}

/// Where what is written lies, and what is read goes, a slot for each request.
struct Memory {
    /// Never unmapped: when the kernel cannot be asked any more, nobody knows what it still fills.
    map: ManuallyDrop<MmapRaw>,
    /// Bytes of a slot that is fed. Written before any is [`EMPTY`].
    fed_bytes: AtomicU32,
    slots: [Slot; ENTRIES as usize],
}

/// Whose a slot of the memory is, on a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Slot(AtomicU32);

/// Either's: the feeder takes it to fill it, the loop to end.
const EMPTY: u32 = 0;
/// The feeder's.
const FILLING: u32 = 1;
/// The loop's, to be asked for.
const FULL: u32 = 2;
/// The kernel's, or nobody's.
const TAKEN: u32 = 3;

impl Memory {
    /// The slot's bytes.
    fn slot(&self, slot: usize, bytes: u32) -> *mut u8 {
        let at = slot * bytes as usize;
        assert!(at + bytes as usize <= MEMORY_BYTES, "a request outside of the memory");
        self.map.as_mut_ptr().wrapping_add(at)
    }
}

/// Fills what a bare loop is to write, as a publisher does: message by message, on another core.
pub(super) struct Feeder {
    memory: Arc<Memory>,
    message: [u8; MESSAGE_BYTES],
}

impl Feeder {
    /// Fills each slot that is empty.
    pub(super) fn feed(&mut self) {
        for (number, Slot(owner)) in self.memory.slots.iter().enumerate() {
            // Pairs with both stores of `EMPTY`: the kernel has read what was in it, and has so
            // many bytes.
            let taken =
                owner.compare_exchange(EMPTY, FILLING, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_err() {
                continue;
            }
            let bytes = self.memory.fed_bytes.load(Ordering::Relaxed);
            let slot = self.memory.slot(number, bytes);
            for at in (0..bytes as usize).step_by(MESSAGE_BYTES) {
                self.message[..8].copy_from_slice(&at.to_ne_bytes());
                let length = MESSAGE_BYTES.min(bytes as usize - at);
                let to = slot.wrapping_add(at);
                // SAFETY: a part of the slot, which lies inside of a mapping that is never
                // unmapped, and which is the feeder's alone until it is `FULL`.
                unsafe { to.copy_from(self.message.as_ptr(), length) };
            }
            // Pairs with the loads in `take` and `rest`: what it holds is there.
            owner.store(FULL, Ordering::Release);
        }
    }
}

impl Direct {
    /// # Errors
    /// Where the kernel refuses io_uring.
    pub(super) fn new(pages: Pages) -> Result<Self> {
        let ring = IoUring::new(ENTRIES).context(
            "the kernel refuses io_uring, which the bare loops need; see \
             /proc/sys/kernel/io_uring_disabled",
        )?;
        let mut memory = MmapMut::map_anon(MEMORY_BYTES).context("no memory for the bare loops")?;
        let advice = match pages {
            Pages::Small => Advice::NoHugePage,
            Pages::Huge => Advice::HugePage,
        };
        // A kernel that has no huge pages refuses both.
        let _ = memory.advise(advice);
        // No disk can make less of it.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for word in memory.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let memory = Memory {
            map: ManuallyDrop::new(memory.into()),
            fed_bytes: AtomicU32::new(0),
            slots: std::array::from_fn(|_| Slot(AtomicU32::new(TAKEN))),
        };
        Ok(Self { ring, memory: Arc::new(memory), open: 0, is_broken: false })
    }

    /// Who fills what is written, where the work says so; on another core meanwhile.
    pub(super) fn feeder(&self) -> Feeder {
        Feeder { memory: Arc::clone(&self.memory), message: [0x5A; MESSAGE_BYTES] }
    }

    /// Does `work` to all of `spans`, as far as they hold whole requests. Returns how long that
    /// took; flushes at its end are over, but do not count.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn stream(
        &mut self,
        work: Work,
        spans: &[Span<'_>],
        request: Request,
    ) -> Result<Duration> {
        let streamed = self.try_stream(work, spans, request);
        let drained = self.drain();
        self.rest();
        streamed
            .and_then(|elapsed| drained.map(|()| elapsed))
            .with_context(|| format!("cannot {}", work.verb()))
    }

    /// Writes a page of `file` and a run of them at the same time, and makes them durable.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn commit(&mut self, file: &File, page: u64, run: Range<u64>) -> Result<()> {
        let committed = self.try_commit(file, page, run);
        let drained = self.drain();
        committed.and(drained).context("cannot write some pages and flush")
    }

    /// Finds how `work` goes fastest: each way twice, unless that takes too long; the better one
    /// counts. Returns the bytes a second, too.
    ///
    /// # Errors
    /// When the disk refuses, or `before` does, which is called before each.
    pub(super) fn best(
        &mut self,
        work: Work,
        spans: &[Span<'_>],
        mut before: impl FnMut() -> Result<()>,
    ) -> Result<(Request, f64)> {
        let start = Instant::now();
        let mut best = (REQUESTS[0], 0.0);
        for (number, request) in REQUESTS.into_iter().chain(REQUESTS).enumerate() {
            if number >= REQUESTS.len() && start.elapsed() > SEARCH {
                break;
            }
            before()?;
            let bytes_per_s = self.rate(work, spans, request)?;
            if bytes_per_s > best.1 {
                best = (request, bytes_per_s);
            }
        }
        Ok(best)
    }

    /// Bytes a second.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn rate(&mut self, work: Work, spans: &[Span<'_>], request: Request) -> Result<f64> {
        let elapsed = self.stream(work, spans, request)?;
        Ok(request.whole_bytes(spans) / elapsed.as_secs_f64())
    }

    fn try_stream(
        &mut self,
        work: Work,
        spans: &[Span<'_>],
        request: Request,
    ) -> io::Result<Duration> {
        let Request { bytes, depth } = request;
        let mut left: Vec<u64> = spans.iter().map(|span| span.bytes / u64::from(bytes)).collect();
        let total: u64 = left.iter().sum();
        let mut places = left.clone().into_iter().enumerate().flat_map(|(span, requests)| {
            (0..requests).map(move |request| (span, request * u64::from(bytes)))
        });
        let mut next = places.next();
        let (slots, over) = match work.is_fed() {
            true => (SLOTS_FED.max(depth), EMPTY),
            false => (depth, FULL),
        };
        assert!(u64::from(slots) * u64::from(bytes) <= MEMORY_BYTES as u64, "more than there is");
        let slots = slots as usize;
        self.memory.fed_bytes.store(bytes, Ordering::Relaxed);
        let start = Instant::now();
        for Slot(owner) in &self.memory.slots[..slots] {
            // Pairs with the load in `feed`: of these bytes is the slot.
            owner.store(over, Ordering::Release);
        }
        let mut done = 0;
        let mut under_way = 0;
        let mut elapsed = Duration::ZERO;
        while done < total {
            while let Some((span, at)) = next
                && under_way < depth
                && let Some(slot) = self.take(slots)
            {
                let number = (span as u64) << 32 | u64::from(slot);
                self.transfer(work, spans[span].file, at, slot, bytes, number);
                under_way += 1;
                next = places.next();
                if work.is_fed() {
                    // The disk works while the next slot is looked at.
                    self.submit()?;
                }
            }
            self.submit()?;
            while let Some(entry) = self.reap()? {
                if entry.user_data() == FLUSH {
                    continue;
                }
                if entry.result() as u32 != bytes {
                    return Err(io::Error::other("the disk took or gave less than was asked for"));
                }
                let (span, slot) = ((entry.user_data() >> 32) as usize, entry.user_data() as u32);
                // Pairs with the load in `feed`: the kernel has read what was in it.
                self.memory.slots[slot as usize].0.store(over, Ordering::Release);
                under_way -= 1;
                left[span] -= 1;
                done += 1;
                elapsed = start.elapsed();
                if work.flushes() && left[span] == 0 {
                    self.flush(spans[span].file);
                }
            }
            spin_loop();
        }
        Ok(elapsed)
    }

    fn try_commit(&mut self, file: &File, page: u64, run: Range<u64>) -> io::Result<()> {
        let run_bytes = (run.end - run.start) as u32 * PAGE_BYTES;
        for (slot, (page, bytes)) in (0..).zip([(page, PAGE_BYTES), (run.start, run_bytes)]) {
            let at = page * u64::from(PAGE_BYTES);
            // What it is to write is its number.
            self.transfer(Work::Write, file, at, slot, bytes, u64::from(bytes));
        }
        while self.open > 0 {
            self.wait()?;
            while let Some(entry) = self.reap()? {
                if i64::from(entry.result()) as u64 != entry.user_data() {
                    return Err(io::Error::other("the disk took less than was asked for"));
                }
            }
        }
        self.flush(file);
        while self.open > 0 {
            self.wait()?;
            while self.reap()?.is_some() {}
        }
        Ok(())
    }

    /// Stages a request about part `slot` of the memory.
    fn transfer(&mut self, work: Work, file: &File, at: u64, slot: u32, bytes: u32, number: u64) {
        let address = self.memory.slot(slot as usize, bytes);
        if work.is_fed() || work == Work::CheckWriteAndFlush {
            // SAFETY: inside of the mapping, as was asserted, which was filled when it was made.
            // Nobody writes to it: the slot was taken, so the feeder does not, and a request reads
            // into it only where the work is to read; between two works none is under way.
            let written = unsafe { slice::from_raw_parts(address, bytes as usize) };
            black_box(crc32c::crc32c(written));
        }
        let file = types::Fd(file.as_raw_fd());
        let entry = match work {
            Work::Read => opcode::Read::new(file, address, bytes).offset(at).build(),
            _ => opcode::Write::new(file, address, bytes).offset(at).build(),
        };
        self.push(&entry.user_data(number));
    }

    fn flush(&mut self, file: &File) {
        let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd()));
        self.push(&entry.flags(types::FsyncFlags::DATASYNC).build().user_data(FLUSH));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        assert!(!self.is_broken, "something is staged whose file may be closed");
        self.open += 1;
        // SAFETY: the memory of a request is part of a mapping that is never unmapped and that
        // nobody but the kernel looks at while it is filled. The file is open when the kernel takes
        // the request, which holds it from then on: the two callers that stage requests borrow the
        // file, and before they return the kernel has taken all, or is asked nothing any more.
        unsafe { self.ring.submission().push(entry) }.expect("more room than requests");
    }

    /// Takes a slot that is full.
    fn take(&self, slots: usize) -> Option<u32> {
        // Pairs with the store of `FULL` by the feeder: what it holds is there.
        let is_full = |Slot(owner): &Slot| owner.load(Ordering::Acquire) == FULL;
        let slot = self.memory.slots[..slots].iter().position(is_full)?;
        self.memory.slots[slot].0.store(TAKEN, Ordering::Relaxed);
        Some(slot as u32)
    }

    /// Nothing is fed any more: waits for what is filled right now.
    fn rest(&self) {
        for Slot(owner) in &self.memory.slots {
            let take = |owner| (owner != FILLING).then_some(TAKEN);
            // Pairs with the store of `FULL`: nobody writes there any more.
            while owner.fetch_update(Ordering::Acquire, Ordering::Acquire, take).is_err() {
                spin_loop();
            }
        }
    }

    /// Gives the kernel what is staged, and waits until something is over.
    fn wait(&mut self) -> io::Result<()> {
        self.submit()?;
        while self.ring.completion().is_empty() {
            spin_loop();
        }
        Ok(())
    }

    /// Gives the kernel what is staged.
    fn submit(&mut self) -> io::Result<()> {
        while !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    self.is_broken = true;
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn reap(&mut self) -> io::Result<Option<cqueue::Entry>> {
        let Some(entry) = self.ring.completion().next() else { return Ok(None) };
        self.open -= 1;
        match entry.result() {
            error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
            _ => Ok(Some(entry)),
        }
    }

    /// Waits for all that is under way.
    fn drain(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        while self.open > 0 && !self.is_broken {
            self.wait()?;
            while let Some(outcome) = self.reap().transpose() {
                result = result.and(outcome.map(drop));
            }
        }
        result
    }
}

impl Work {
    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            _ => "write",
        }
    }

    fn is_fed(self) -> bool {
        self == Self::FeedCheckWriteAndFlush
    }

    fn flushes(self) -> bool {
        !matches!(self, Self::Read | Self::Write)
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, thread};

    use super::*;
    use crate::bench::disk::place::Place;

    #[test]
    fn what_is_written_or_fed_is_on_the_file_and_a_short_file_is_an_error() {
        let place = Place::create(&env::temp_dir()).unwrap();
        let mut direct = Direct::new(Pages::Small).unwrap();
        let bytes = 1 << 20;
        let file = place.written(&mut direct, "file", bytes).unwrap();
        let request = Request { bytes: 64 << 10, depth: 4 };
        let span = |bytes| [Span { file: &file, bytes }];
        direct.stream(Work::CheckWriteAndFlush, &span(bytes), request).unwrap();
        let written = fs::read(place.path().join("file")).unwrap();
        assert_eq!(written.len() as u64, bytes);
        assert!(written.chunks(4096).all(|page| page.iter().any(|byte| *byte != 0)));
        direct.stream(Work::Read, &span(bytes), request).unwrap();
        direct.commit(&file, 0, 7..8).unwrap();
        direct.stream(Work::Read, &span(2 * bytes), request).unwrap_err();
        direct.stream(Work::Read, &span(bytes), request).unwrap();
        assert_eq!(direct.open, 0);

        let mut feeder = direct.feeder();
        feeder.feed();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                direct.stream(Work::FeedCheckWriteAndFlush, &span(bytes), request).unwrap();
            });
            while !writer.is_finished() {
                feeder.feed();
            }
        });
        let written = fs::read(place.path().join("file")).unwrap();
        assert_eq!(written.len() as u64, bytes);
        let is_fed = |message: &[u8]| message[8..].iter().all(|byte| *byte == 0x5A);
        assert!(written.chunks(MESSAGE_BYTES).all(is_fed));
        let is_taken = |Slot(owner): &Slot| owner.load(Ordering::Relaxed) == TAKEN;
        assert!(direct.memory.slots.iter().all(is_taken));
    }
}
