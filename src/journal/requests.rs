//! What was asked of the disk and is not over: kept so that what was written in part, or not at
//! all, can be asked for again.
#![forbid(unsafe_code)]

use std::mem;

use crate::journal::disk::{PAGE_BYTES, Part};

/// Something that was asked for.
#[derive(Debug)]
pub(crate) struct Request<S> {
    pub(crate) segment: S,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// From byte `at` of the segment on; of the chunk of this number, and at this position of the
    /// log.
    Write {
        at: u64,
        parts: Vec<Part>,
        chunk: u64,
        position: u64,
    },
    Flush,
}

/// All requests, by the number that they were asked for with.
#[derive(Debug)]
pub(crate) struct Requests<S> {
    slots: Vec<Option<Request<S>>>,
    free: Vec<u64>,
    /// Lists that are not in use, kept for their room.
    lists: Vec<Vec<Part>>,
}

impl<S> Requests<S> {
    pub(crate) fn new() -> Requests<S> {
        Requests { slots: Vec::new(), free: Vec::new(), lists: Vec::new() }
    }

    /// An empty list of parts.
    pub(crate) fn list(&mut self) -> Vec<Part> {
        self.lists.pop().unwrap_or_default()
    }

    /// Keeps a request. Returns its number.
    pub(crate) fn add(&mut self, request: Request<S>) -> u64 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u64 - 1
        });
        self.slots[id as usize] = Some(request);
        id
    }

    /// The request of that number.
    pub(crate) fn get_mut(&mut self, id: u64) -> &mut Request<S> {
        self.slots[id as usize].as_mut().expect("it was asked for, and is not over")
    }

    /// Forgets a request that is over.
    pub(crate) fn remove(&mut self, id: u64) {
        let request = self.slots[id as usize].take();
        self.free.push(id);
        if let Some(Request { what: What::Write { mut parts, .. }, .. }) = request {
            parts.clear();
            self.lists.push(parts);
        }
    }
}

impl What {
    /// Goes past what was written of it, in whole pages: the rest is to be asked for again. Returns
    /// whether there is a rest.
    pub(crate) fn pass(&mut self, written_bytes: u64) -> bool {
        let What::Write { at, parts, position, .. } = self else { return false };
        let total: u64 = parts.iter().map(|part| part.bytes).sum();
        if written_bytes >= total {
            return false;
        }
        let mut left = written_bytes - written_bytes % PAGE_BYTES;
        (*at, *position) = (*at + left, *position + left);
        for mut part in mem::take(parts) {
            let passed = left.min(part.bytes);
            left -= passed;
            part.at += passed;
            part.bytes -= passed;
            if part.bytes > 0 {
                parts.push(part);
            }
        }
        true
    }
}
