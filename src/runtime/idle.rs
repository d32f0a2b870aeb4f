//! What a thread does after a poll that found nothing: spin, pause, yield or sleep.
#![forbid(unsafe_code)]

use std::time::Duration;
use std::{hint, thread};

/// The longest sleep of any strategy, in nanoseconds: 1 ms.
///
/// It bounds how late a sleeping thread notices a message, and how long a shutdown takes.
pub const SLEEP_NS_MAX: u64 = 1_000_000;

/// The first sleep after work; each further one is twice as long.
const SLEEP_NS_MIN: u64 = 1_000;

/// The longest pause of [`Idle::polled`], in spins: 1 to 3 us, as a spin takes 12 to 45 ns. Longer
/// ones lift throughput by a few percent only.
const PAUSE_SPINS_MAX: usize = 64;

/// How a thread idles when a poll, or a whole round of them, found nothing.
///
/// | strategy | a message is noticed | costs |
/// |---|---|---|
/// | `BusySpin` | at once | a whole core; under flood it also slows the writer whose line it polls |
/// | `SpinPause` | within a pause instruction, or some under flood | a whole core, but spares a sibling hyper-thread |
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
    /// Pause one spin after an empty poll. Only for a thread with a core of its own. With
    /// [`Idle::polled`] it also leaves a writer under flood alone for a moment, now and then.
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
    /// Steps taken since work was last found.
    steps: u64,
    /// The next sleep.
    sleep_ns: u64,
}

impl Idle {
    /// Starts as if work had just been found.
    pub const fn new(strategy: IdleStrategy) -> Self {
        Self { strategy, steps: 0, sleep_ns: SLEEP_NS_MIN }
    }

    /// Call it after each poll with the work that it did: starts over where there was some, else
    /// takes one step.
    #[inline]
    pub fn idle(&mut self, work: usize) {
        if work > 0 {
            *self = Self::new(self.strategy);
        } else {
            self.next_step().run();
        }
    }

    /// As [`Idle::idle`], for a loop over one subscriber that polls for up to `limit` messages and
    /// found `found`: it lifts the throughput of a flood.
    ///
    /// A reader at the writer's heels fetches the very lines that the writer is filling. It hardly
    /// ever meets an empty poll, since with each line that it waits for some messages have come;
    /// but it takes those lines from the writer all the time. So, with [`IdleStrategy::SpinPause`],
    /// a poll that found *n* messages and did not reach its limit is followed by a pause of *n*
    /// spins, at most 64. Where more than one message arrives per spin, each pause finds more than
    /// the one before and the pauses grow; where fewer do, they shrink to one.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// # let mut subscriber = topic.subscribe().open()?;
    /// use tickcast::runtime::{Idle, IdleStrategy};
    ///
    /// let mut idle = Idle::new(IdleStrategy::SpinPause);
    /// loop {
    ///     idle.polled(subscriber.poll(256, |event| println!("{event:?}")), 256);
    /// }
    /// # #[allow(unreachable_code)]
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn polled(&mut self, found: usize, limit: usize) {
        self.idle(found);
        if found > 0 {
            self.flood_pause(found, limit).run();
        }
    }

    fn flood_pause(&self, found: usize, limit: usize) -> Step {
        match self.strategy {
            IdleStrategy::SpinPause if found < limit => {
                Step::Pause(found.min(PAUSE_SPINS_MAX) as u32)
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
    fn pauses_one_spin_when_empty_and_under_flood_as_many_as_messages_were_found() {
        let mut idle = Idle::new(IdleStrategy::SpinPause);
        assert_eq!(steps(&mut idle, 3), [Step::Pause(1); 3]);
        for (found, spins) in [(1, 1), (2, 2), (63, 63), (65, 64), (1000, 64)] {
            assert_eq!(idle.flood_pause(found, 1001), Step::Pause(spins), "found {found}");
            assert_eq!(idle.flood_pause(found, found), Step::Spin, "more is waiting");
            let other = Idle::new(IdleStrategy::BusySpin);
            assert_eq!(other.flood_pause(found, 1001), Step::Spin);
        }
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
