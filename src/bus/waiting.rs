//! Waiting inside a call: for the slowest subscriber, or for a message. The steps come from an
//! idle strategy.

use std::time::{Duration, Instant};

use crate::runtime::{Idle, IdleStrategy, Step};

/// A wait with an optional end.
#[derive(Debug)]
pub(crate) struct Waiting {
    idle: Idle,
    deadline: Option<Instant>,
}

impl Waiting {
    /// `timeout`: `None` waits for as long as it takes.
    pub(crate) fn new(strategy: IdleStrategy, timeout: Option<Duration>) -> Waiting {
        // A time-out past the end of time is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Waiting { idle: Idle::new(strategy), deadline }
    }

    /// What to do next; `None` when the time is over.
    pub(crate) fn step(&mut self) -> Option<Step> {
        let step = self.idle.next_step();
        let Some(deadline) = self.deadline else { return Some(step) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        Some(match step {
            Step::Sleep(sleep) => Step::Sleep(sleep.min(left)),
            step => step,
        })
    }

    /// What is left of the time.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}
