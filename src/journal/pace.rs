//! The pace of a replay: when each message is due.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

/// How fast a replay goes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Speed {
    /// As fast as the handler takes it.
    #[default]
    Max,
    /// As the timestamps say. A step back in time counts as none.
    Recorded,
    /// So many times as fast as the timestamps say; above 0.
    Times(f64),
}

/// What is left to wait is spun away, since sleeping takes that much longer at times.
const SPIN: Duration = Duration::from_micros(200);

/// How often who watches a replay is asked at least.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Waits for each message's time.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Nanoseconds of the recording in one of the replay.
    speed: f64,
    began: Option<(Instant, u64)>,
    /// The latest timestamp so far: time does not go back.
    time_ns: u64,
}

impl Pace {
    /// `None` where nothing is to be waited for.
    pub(crate) fn new(speed: Speed) -> Option<Pace> {
        let speed = match speed {
            Speed::Max => return None,
            Speed::Recorded => 1.0,
            Speed::Times(times) => times,
        };
        Some(Pace { speed, began: None, time_ns: 0 })
    }

    /// When a message is due.
    fn due(&mut self, timestamp_ns: u64, now: Instant) -> Instant {
        self.time_ns = self.time_ns.max(timestamp_ns);
        let (began, first_ns) = *self.began.get_or_insert((now, self.time_ns));
        let after_s = (self.time_ns - first_ns) as f64 / 1e9 / self.speed;
        let after = Duration::try_from_secs_f64(after_s).unwrap_or(Duration::MAX);
        // A time that no clock reaches is as good as a year.
        began.checked_add(after).unwrap_or_else(|| began + Duration::from_secs(31_536_000))
    }

    /// Waits until a message is due; the first is at once. `watch` is asked now and then whether to
    /// go on waiting.
    pub(crate) fn wait(
        &mut self,
        timestamp_ns: u64,
        mut watch: impl FnMut() -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut now = Instant::now();
        let due = self.due(timestamp_ns, now);
        while now < due {
            match (due - now).checked_sub(SPIN) {
                Some(long) => {
                    watch()?;
                    thread::sleep(long.min(ASK_EVERY));
                }
                None => std::hint::spin_loop(),
            }
            now = Instant::now();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_as_the_timestamps_say_and_steps_back_count_as_none() {
        let now = Instant::now();
        let mut pace = Pace::new(Speed::Times(2.0)).unwrap();
        let mut after = |timestamp_ns| pace.due(timestamp_ns, now) - now;
        assert_eq!(after(1_000), Duration::ZERO);
        assert_eq!(after(5_000), Duration::from_micros(2));
        assert_eq!(after(3_000), Duration::from_micros(2));
        assert_eq!(after(5_400), Duration::from_nanos(2_200));
        assert!(after(u64::MAX) > Duration::from_secs(3_600));
        assert!(Pace::new(Speed::Max).is_none());
    }
}
