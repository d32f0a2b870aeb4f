//! Writing by io_uring: what is asked for goes to the kernel with the next look at what is over,
//! all of it in one call, and nothing waits for it.
//!
//! The ring is not bound to a thread (`SINGLE_ISSUER`, `DEFER_TASKRUN`): a journal is recovered in
//! one thread and runs in another, and whoever drops it has to wait for what is under way, in
//! whichever thread that is.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};

use super::blocking::is_passing;
use super::folder::FileSegment;
use super::vector::Vector;
use super::{Completion, Part};
use crate::fork::{self, Generation};

/// How many requests the kernel has at a time; what is asked for beyond them waits here.
const ENTRIES: u32 = 256;

/// So many looks that found nothing to do, while something is under way, and the kernel is asked.
/// It says by a flag when it wants to be; but to one ring only of all that a thread has, and that
/// one may be looked at no more.
const LOOKS_MAX: u32 = 1024;

pub(super) struct Uring {
    ring: IoUring,
    /// All requests that there ever were at a time; their rooms are used again.
    requests: Vec<Request>,
    /// Those that nothing is asked of.
    free: Vec<usize>,
    /// Those that the kernel does not have yet, or has to be given again.
    waiting: VecDeque<usize>,
    /// How many are in the ring or with the kernel.
    in_flight: u32,
    looks: u32,
    /// Why the kernel is asked no more.
    broken: Option<i32>,
    made_in: Generation,
}

/// Something that was asked for, and what the kernel uses meanwhile.
#[derive(Default)]
struct Request {
    /// `None` when it is free, or when its end was told before the kernel told it.
    id: Option<u64>,
    segment: Option<FileSegment>,
    /// Where the segment is written to; `None` when it is to be flushed.
    at: Option<u64>,
    vector: Vector,
}

impl Uring {
    /// # Errors
    /// Where the kernel, or who set it up, refuses.
    pub(super) fn new() -> io::Result<Uring> {
        fork::watch()?;
        let ring = IoUring::builder()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .build(ENTRIES)
            // Flags that a kernel before 5.19 does not know.
            .or_else(|_| IoUring::new(ENTRIES))?;
        Ok(Uring {
            ring,
            requests: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            in_flight: 0,
            looks: 0,
            broken: None,
            made_in: Generation::now(),
        })
    }

    pub(super) fn write(&mut self, id: u64, segment: &FileSegment, at: u64, parts: &[Part]) {
        self.ask(id, segment, Some(at)).vector.set(parts);
    }

    pub(super) fn flush(&mut self, id: u64, segment: &FileSegment) {
        self.ask(id, segment, None);
    }

    pub(super) fn completed(&mut self) -> Option<Completion> {
        if self.free.len() == self.requests.len() {
            return None;
        }
        if let Some(error) = self.broken() {
            let id = self.requests.iter_mut().find_map(|request| request.id.take())?;
            return Some(Completion { id, result: Err(io::Error::from_raw_os_error(error)) });
        }
        self.reap().or_else(|| {
            self.look();
            self.reap()
        })
    }

    fn ask(&mut self, id: u64, segment: &FileSegment, at: Option<u64>) -> &mut Request {
        let index = self.free.pop().unwrap_or_else(|| {
            self.requests.push(Request::default());
            self.requests.len() - 1
        });
        self.waiting.push_back(index);
        let request = &mut self.requests[index];
        request.id = Some(id);
        request.segment = Some(segment.clone());
        request.at = at;
        request
    }

    /// What the kernel has told to be over.
    fn reap(&mut self) -> Option<Completion> {
        loop {
            let entry = self.ring.completion().next()?;
            self.in_flight -= 1;
            let index = entry.user_data() as usize;
            let result = u64::try_from(entry.result())
                .map_err(|_| io::Error::from_raw_os_error(-entry.result()));
            if result.as_ref().is_err_and(is_to_be_asked_again) {
                self.waiting.push_back(index);
                continue;
            }
            self.free.push(index);
            let request = &mut self.requests[index];
            request.vector.clear();
            request.segment = None;
            let id = request.id.take().expect("the end of a request is told once");
            return Some(Completion { id, result });
        }
    }

    /// Gives the kernel what waits, and lets it tell what is over, if there is any of both.
    fn look(&mut self) {
        self.stage();
        let submission = self.ring.submission();
        let is_due = !submission.is_empty() || submission.taskrun();
        drop(submission);
        self.looks += 1;
        if is_due || self.looks > LOOKS_MAX {
            self.enter(0);
        }
    }

    /// Puts into the ring what waits, as far as there is room.
    fn stage(&mut self) {
        let mut submission = self.ring.submission();
        while self.in_flight < ENTRIES
            && let Some(index) = self.waiting.pop_front()
        {
            let request = &self.requests[index];
            // A forked child has no file, and does not come here.
            let file = request.segment.as_ref().and_then(|segment| segment.file().ok());
            let file = types::Fd(file.map_or(-1, AsRawFd::as_raw_fd));
            let places = request.vector.places();
            let entry = match request.at {
                Some(at) => opcode::Writev::new(file, places.as_ptr(), places.len() as u32)
                    .offset(at)
                    .build(),
                None => opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build(),
            };
            let entry = entry.user_data(index as u64);
            // SAFETY: the descriptor, the places and the memory that they are in stay as they are
            // until the kernel has told the end of this: the request holds the segment and the
            // vector, and `reap` alone lets them go; it may move meanwhile, but the places lie on
            // the heap. Who drops this waits for that end, or leaks the requests.
            unsafe { submission.push(&entry) }
                .expect("the ring has room for all that are in flight");
            self.in_flight += 1;
        }
    }

    /// Enters the kernel, until so many requests are over as `count` says.
    fn enter(&mut self, count: usize) {
        self.looks = 0;
        match self.ring.submit_and_wait(count) {
            Ok(_) => {}
            // What it has not taken stays in the ring for the next time.
            Err(error)
                if is_passing(&error)
                    || matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOMEM)) => {}
            Err(error) => self.broken = Some(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }

    /// Why the kernel cannot be asked any more, be it that this is a forked child, which shares the
    /// ring with its parent: then everything that was asked for fails.
    fn broken(&self) -> Option<i32> {
        if self.made_in.is_current() { self.broken } else { Some(libc::ECHILD) }
    }
}

/// A request that is queued for a thread of the kernel may be cancelled when the thread ends that
/// asked for it, though another one may wait for it now.
fn is_to_be_asked_again(error: &io::Error) -> bool {
    is_passing(error) || error.raw_os_error() == Some(libc::ECANCELED)
}

impl Drop for Uring {
    fn drop(&mut self) {
        while self.in_flight > 0 && self.broken().is_none() {
            self.enter(1);
            while self.reap().is_some() {}
        }
        if self.in_flight > 0 {
            // Nobody will tell when the kernel is done with their memory.
            mem::forget(mem::take(&mut self.requests));
        }
    }
}
