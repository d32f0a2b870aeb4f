//! What a core polls, and the mark by which a waiting call knows that it stands inside a poll.
#![forbid(unsafe_code)]

use std::cell::Cell;

/// A piece of work that is polled by a [`Core`](super::Core).
///
/// An agent never waits: a core's agents share its thread, so one that waits stops them all.
/// Calls of this library that wait refuse to do so inside [`poll`](Agent::poll), with an error.
pub trait Agent: Send {
    /// The name under which the agent appears in counters and errors. Read once, when the core
    /// starts.
    fn name(&self) -> &str;

    /// Does what can be done now and returns how much that was; 0 means that there was nothing.
    ///
    /// Return the number of messages where there are messages: an
    /// [`IdleStrategy`](super::IdleStrategy) tells a flood from a trickle by it.
    fn poll(&mut self) -> usize;

    /// Called once, on the core's thread, when the core shuts down; the agent is dropped next.
    ///
    /// Not called for an agent that panicked in [`poll`](Agent::poll), since nobody knows what
    /// state it is in.
    fn close(&mut self) {}
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is inside an agent's [`Agent::poll`], where waiting is an error.
pub(crate) fn inside_agent() -> bool {
    INSIDE.get()
}

/// Polls `agent` with the mark set that [`inside_agent`] reads.
#[inline]
pub(super) fn poll_marked(agent: &mut dyn Agent) -> usize {
    /// Lowers the mark when the poll panics too: the other agents' `close` may wait.
    struct Mark;
    impl Drop for Mark {
        fn drop(&mut self) {
            INSIDE.set(false);
        }
    }
    INSIDE.set(true);
    let _mark = Mark;
    agent.poll()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Notes the mark in each call; panics in `poll` when told to.
    struct Witness {
        panics: bool,
        seen: Vec<(&'static str, bool)>,
    }

    impl Agent for Witness {
        fn name(&self) -> &str {
            "witness"
        }
        fn poll(&mut self) -> usize {
            self.seen.push(("poll", inside_agent()));
            assert!(!self.panics, "told to panic");
            1
        }
        fn close(&mut self) {
            self.seen.push(("close", inside_agent()));
        }
    }

    #[test]
    fn the_mark_is_up_inside_a_poll_only() {
        let mut witness = Witness { panics: false, seen: Vec::new() };
        assert!(!inside_agent());
        assert_eq!(poll_marked(&mut witness), 1);
        assert!(!inside_agent());
        witness.close();
        assert_eq!(witness.seen, [("poll", true), ("close", false)]);
    }

    #[test]
    fn the_mark_is_lowered_by_a_panic() {
        let mut witness = Witness { panics: true, seen: Vec::new() };
        let polled = catch_unwind(AssertUnwindSafe(|| poll_marked(&mut witness)));
        assert!(polled.is_err());
        assert_eq!(witness.seen, [("poll", true)]);
        assert!(!inside_agent());
    }

    #[test]
    fn the_mark_is_of_one_thread() {
        struct Asks(Option<bool>);
        impl Agent for Asks {
            fn name(&self) -> &str {
                "asks"
            }
            fn poll(&mut self) -> usize {
                self.0 = std::thread::spawn(inside_agent).join().ok();
                1
            }
        }
        let mut asks = Asks(None);
        poll_marked(&mut asks);
        assert_eq!(asks.0, Some(false));
    }
}
