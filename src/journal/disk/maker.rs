//! The thread that makes segments ready, and removes old ones before, since that takes its time and
//! an agent's poll has none.
#![forbid(unsafe_code)]

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use super::folder::{FileSegment, Folder};
use crate::fork::{self, Generation};
use crate::shm::error::FileError;

/// It is there from the beginning, so that it is not bound to the core that the journal is to run
/// on.
#[derive(Debug)]
pub(super) struct Maker {
    /// `None` only while it is dropped.
    wanted: Option<Sender<Order>>,
    made: Receiver<io::Result<FileSegment>>,
    /// How many were asked for and are not fetched yet.
    count: u64,
    /// `None` only while it is dropped.
    thread: Option<JoinHandle<()>>,
    made_in: Generation,
}

/// What the thread is to do.
enum Order {
    /// Make the segment that begins with this block.
    Make(u64),
    /// Do this before it makes another one.
    Before(Task),
}

type Task = Box<dyn FnMut() + Send>;

impl Maker {
    pub(super) fn start(folder: Arc<Folder>) -> io::Result<Maker> {
        fork::watch()?;
        let made_in = Generation::now();
        let (wanted, orders) = channel();
        let (finished, made) = channel();
        let work = move || {
            let mut before: Option<Task> = None;
            for order in orders {
                let first = match order {
                    Order::Make(first) => first,
                    Order::Before(task) => {
                        before = Some(task);
                        continue;
                    }
                };
                if let Some(task) = &mut before {
                    task();
                }
                let segment = folder.make(first).map_err(FileError::into_io);
                // Who asked for it may have gone.
                let _ = finished.send(segment);
            }
        };
        let thread = thread::Builder::new().name("tickcast-files".into()).spawn(work)?;
        Ok(Maker { wanted: Some(wanted), made, count: 0, thread: Some(thread), made_in })
    }

    pub(super) fn ask(&mut self, first: u64) {
        self.order(Order::Make(first));
        self.count += 1;
    }

    pub(super) fn before_making(&mut self, task: Task) {
        self.order(Order::Before(task));
    }

    fn order(&self, order: Order) {
        let wanted = self.wanted.as_ref().expect("present until it is dropped");
        // If the thread has ended, the answer to what is asked for next says so.
        let _ = wanted.send(order);
    }

    pub(super) fn fetch(&mut self) -> Option<io::Result<FileSegment>> {
        if self.count == 0 {
            return None;
        }
        let segment = match self.made.try_recv() {
            Ok(segment) => segment,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => {
                Err(io::Error::other("the thread that makes segments ready has ended"))
            }
        };
        self.count -= 1;
        Some(segment)
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        let thread = self.thread.take();
        if !self.made_in.is_current() {
            // A forked child does not have the thread.
            mem::forget(thread);
            return;
        }
        // It ends when nothing more can be wanted; until then it may give a file a name.
        drop(self.wanted.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
