//! What a thread does after a poll that found nothing: spin, pause, yield or sleep.
#![forbid(unsafe_code)]

use std::time::Duration;
use std::{hint, mem, thread};

/// The longest sleep of any strategy, in nanoseconds: 1 ms.
///
/// It bounds how late a sleeping thread notices a message, and how long a shutdown takes.
pub const SLEEP_NS_MAX: u64 = 1_000_000;

/// The first sleep after work; each further one is twice as long.
const SLEEP_NS_MIN: u64 = 1_000;

/// The longest pause of [`IdleStrategy::SpinPause`], in spins: some 3 us where one takes 12 ns.
const PAUSE_SPINS_MAX: usize = 256;

/// How a thread idles when a poll, or a whole round of them, found nothing.
///
/// | strategy | a message is noticed | costs |
/// |---|---|---|
/// | `BusySpin` | at once | a whole core; under flood it also slows the writer whose line it polls |
/// | `SpinPause` | within a pause instruction | a whole core, but spares a sibling hyper-thread |
/// | `BackOff` | at once after work, later the longer nothing came | little when idle |
/// | `Sleep` | within the sleep | least |
///
/// The kernel rounds a sleep up by the thread's timer slack, 50 us unless it was set otherwise
/// (`PR_SET_TIMERSLACK` in prctl(2)), so short sleeps take about that long.
///
/// # Examples
/// ```
/// use tickcast::runtime::{Idle, IdleStrategy};
///
/// // Three polling threads on two cores: they must not take the cores from each other.
/// let strategy = IdleStrategy::for_threads(3, 2);
/// assert_eq!(strategy, IdleStrategy::back_off());
///
/// let mut idle = Idle::new(strategy);
/// let mut received = vec![1, 0, 2, 0].into_iter();
/// while let Some(messages) = received.next() {
///     idle.idle(messages); // returns at once where there was work
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleStrategy {
    /// Poll again at once. Only for a thread with a core of its own.
    BusySpin,
    /// Pause one spin after an empty poll, and more under flood. Only for a thread with a core of its
    /// own.
    ///
    /// A reader at the writer's heels polls the very line that the writer is filling, and takes it
    /// away from the writer all the time; leaving the writer alone for a moment makes batches and
    /// lifts throughput. At low rates the same pause would only be latency. So a poll that found *n*
    /// messages is followed by a pause of *n* spins, at most 256. Where more than one message arrives
    /// per spin, each pause finds more than the one before and the pauses grow; where fewer do, they
    /// shrink to one. A poll that found as many as the one before is taken for one that reached its
    /// limit: more is waiting, and there is no pause.
    SpinPause,
    /// Pause, then yield, then sleep, each sleep twice as long as the one before. For threads that
    /// share cores.
    BackOff {
        /// Empty polls that are followed by one spin each.
        spins: u32,
        /// Further empty polls that are followed by a yield to the scheduler each.
        yields: u32,
        /// The longest sleep, in nanoseconds; brought into 1 us to [`SLEEP_NS_MAX`].
        sleep_ns_max: u64,
    },
    /// Sleep after the first empty poll, 1 us at first, then twice as long each time.
    Sleep {
        /// The longest sleep, in nanoseconds; brought into 1 us to [`SLEEP_NS_MAX`].
        sleep_ns_max: u64,
    },
}

impl IdleStrategy {
    /// [`IdleStrategy::BackOff`] with 100 spins, 10 yields and sleeps of up to 100 us: safe
    /// wherever it runs, since a thread that finds nothing soon leaves the core to others.
    pub const fn back_off() -> Self {
        Self::BackOff { spins: 100, yields: 10, sleep_ns_max: 100_000 }
    }

    /// The strategy for `threads` polling threads on `cores` cores that they may use:
    /// [`BusySpin`](IdleStrategy::BusySpin) where each thread has a core of its own, else
    /// [`back_off`](IdleStrategy::back_off).
    ///
    /// Count every thread of the host that polls on these cores, other processes' too.
    /// [`std::thread::available_parallelism`] tells how many cores a process may use. Latencies
    /// that were taken with more threads than cores should be labelled as oversubscribed.
    pub const fn for_threads(threads: usize, cores: usize) -> Self {
        if threads <= cores { Self::BusySpin } else { Self::back_off() }
    }
}

impl Default for IdleStrategy {
    fn default() -> Self {
        Self::back_off()
    }
}

/// One step of idling; what [`Idle::next_step`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Poll again at once.
    Spin,
    /// Execute the pause instruction this many times.
    Pause(u32),
    /// Offer the core to other threads.
    Yield,
    /// Sleep this long, or wait on something that ends sooner when a message comes.
    Sleep(Duration),
}

impl Step {
    /// Does what the step says.
    #[inline]
    pub fn run(self) {
        match self {
            Self::Spin => {}
            Self::Pause(spins) => {
                for _ in 0..spins {
                    hint::spin_loop();
                }
            }
            Self::Yield => thread::yield_now(),
            Self::Sleep(duration) => thread::sleep(duration),
        }
    }
}

/// An [`IdleStrategy`] at work: remembers how long nothing was found.
///
/// # Examples
/// A blocking receive that wants to be woken instead of sleeping:
/// ```
/// use tickcast::runtime::{Idle, IdleStrategy, Step};
///
/// # let mut polls = 0;
/// # let mut poll = || { polls += 1; usize::from(polls > 3) };
/// # fn wait_for_wake(_timeout: std::time::Duration) {}
/// let mut idle = Idle::new(IdleStrategy::Sleep { sleep_ns_max: 1_000_000 });
/// while poll() == 0 {
///     match idle.next_step() {
///         Step::Sleep(timeout) => wait_for_wake(timeout),
///         step => step.run(),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Idle {
    strategy: IdleStrategy,
    /// What the poll before found.
    found: usize,
    /// Steps taken since work was last found.
    steps: u64,
    /// The next sleep.
    sleep_ns: u64,
}

impl Idle {
    /// Starts as if work had just been found.
    pub const fn new(strategy: IdleStrategy) -> Self {
        Self { strategy, found: 0, steps: 0, sleep_ns: SLEEP_NS_MIN }
    }

    /// Call it after each poll with the work that it did: starts over where there was some, else
    /// takes one step.
    #[inline]
    pub fn idle(&mut self, work: usize) {
        self.step_after(work).run();
    }

    #[inline]
    fn step_after(&mut self, work: usize) -> Step {
        let before = mem::replace(&mut self.found, work);
        if work == 0 {
            return self.next_step();
        }
        *self = Self { found: work, ..Self::new(self.strategy) };
        match self.strategy {
            IdleStrategy::SpinPause if work != before => {
                Step::Pause(work.min(PAUSE_SPINS_MAX) as u32)
            }
            _ => Step::Spin,
        }
    }

    /// The step to take after an empty poll, for a caller that has something better to do than
    /// [`Step::run`]. Counts it as taken.
    #[inline]
    pub fn next_step(&mut self) -> Step {
        match self.strategy {
            IdleStrategy::BusySpin => Step::Spin,
            IdleStrategy::SpinPause => Step::Pause(1),
            IdleStrategy::BackOff { spins, yields, sleep_ns_max } => {
                let step = self.steps;
                self.steps += 1;
                if step < u64::from(spins) {
                    Step::Pause(1)
                } else if step < u64::from(spins) + u64::from(yields) {
                    Step::Yield
                } else {
                    self.next_sleep(sleep_ns_max)
                }
            }
            IdleStrategy::Sleep { sleep_ns_max } => self.next_sleep(sleep_ns_max),
        }
    }

    fn next_sleep(&mut self, sleep_ns_max: u64) -> Step {
        let sleep_ns = self.sleep_ns.min(sleep_ns_max.clamp(SLEEP_NS_MIN, SLEEP_NS_MAX));
        self.sleep_ns = sleep_ns * 2;
        Step::Sleep(Duration::from_nanos(sleep_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(idle: &mut Idle, count: usize) -> Vec<Step> {
        (0..count).map(|_| idle.next_step()).collect()
    }

    fn sleep_us(us: u64) -> Step {
        Step::Sleep(Duration::from_micros(us))
    }

    #[test]
    fn busy_spin_only_spins() {
        let mut idle = Idle::new(IdleStrategy::BusySpin);
        assert_eq!(steps(&mut idle, 3), [Step::Spin; 3]);
        idle.idle(5);
        assert_eq!(idle.next_step(), Step::Spin);
    }

    #[test]
    fn pauses_as_many_spins_as_messages_were_found_then_one() {
        for (found, spins) in [(1, 1), (2, 2), (255, 255), (257, 256), (usize::MAX, 256)] {
            let mut idle = Idle::new(IdleStrategy::SpinPause);
            assert_eq!(idle.step_after(0), Step::Pause(1));
            assert_eq!(idle.step_after(found), Step::Pause(spins), "found {found}");
            assert_eq!(steps(&mut idle, 2), [Step::Pause(1); 2]);
        }
    }

    #[test]
    fn the_pause_grows_under_flood_and_shrinks_below_it() {
        // A reader that finds what arrived during its pause.
        let settle = |first: usize, arrived: fn(u32) -> usize| {
            let mut idle = Idle::new(IdleStrategy::SpinPause);
            let mut pauses = vec![];
            let mut found = first;
            for _ in 0..10 {
                let Step::Pause(spins) = idle.step_after(found) else { break };
                pauses.push(spins);
                found = arrived(spins);
            }
            pauses
        };
        assert_eq!(settle(1, |spins| 2 * spins as usize)[..9], [1, 2, 4, 8, 16, 32, 64, 128, 256]);
        assert_eq!(settle(100, |spins| spins as usize / 2), [100, 50, 25, 12, 6, 3, 1, 1, 1, 1]);
    }

    #[test]
    fn polls_that_reach_their_limit_are_not_kept_waiting() {
        let mut idle = Idle::new(IdleStrategy::SpinPause);
        assert_eq!(idle.step_after(100), Step::Pause(100));
        assert_eq!([0; 3].map(|_| idle.step_after(100)), [Step::Spin; 3]);
        assert_eq!(idle.step_after(20), Step::Pause(20), "the rest");
        assert_eq!(idle.step_after(0), Step::Pause(1));
        assert_eq!(idle.step_after(20), Step::Pause(20), "after an empty poll it is news again");
    }

    #[test]
    fn backs_off_step_by_step_and_starts_over_on_work() {
        let strategy = IdleStrategy::BackOff { spins: 2, yields: 1, sleep_ns_max: 5_000 };
        let expected = [
            Step::Pause(1),
            Step::Pause(1),
            Step::Yield,
            sleep_us(1),
            sleep_us(2),
            sleep_us(4),
            sleep_us(5),
            sleep_us(5),
        ];
        let mut idle = Idle::new(strategy);
        assert_eq!(steps(&mut idle, expected.len()), expected);
        idle.idle(1);
        assert_eq!(steps(&mut idle, expected.len()), expected);
    }

    #[test]
    fn idling_after_an_empty_poll_takes_one_step() {
        let mut idle =
            Idle::new(IdleStrategy::BackOff { spins: 1, yields: 1, sleep_ns_max: 1_000 });
        idle.idle(0);
        assert_eq!(idle.next_step(), Step::Yield);
        idle.idle(0);
        idle.idle(3);
        assert_eq!(idle.next_step(), Step::Pause(1));
    }

    #[test]
    fn sleeps_are_bounded_on_both_sides() {
        let last = |sleep_ns_max| {
            let mut idle = Idle::new(IdleStrategy::Sleep { sleep_ns_max });
            assert_eq!(idle.next_step(), sleep_us(1));
            *steps(&mut idle, 80).last().expect("80 steps were taken")
        };
        assert_eq!(last(0), sleep_us(1), "a sleep of nothing would be a spin");
        assert_eq!(last(300_000), sleep_us(300));
        assert_eq!(last(u64::MAX), Step::Sleep(Duration::from_nanos(SLEEP_NS_MAX)));
    }

    #[test]
    fn spins_only_where_each_thread_has_a_core() {
        assert_eq!(IdleStrategy::for_threads(2, 2), IdleStrategy::BusySpin);
        assert_eq!(IdleStrategy::for_threads(3, 2), IdleStrategy::back_off());
        assert_eq!(IdleStrategy::for_threads(1, 0), IdleStrategy::back_off());
    }
}
