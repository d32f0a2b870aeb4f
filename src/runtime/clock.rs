//! The two clocks: the time of day for timestamps, and a monotonic one for durations.
#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch (`CLOCK_REALTIME`); 0 where the clock stands before it.
///
/// This clock can be set and may go back. Use [`monotonic_ns`] for durations.
///
/// # Examples
/// ```
/// let captured_ns = tickcast::runtime::clock::now_ns();
/// assert!(captured_ns > 0, "the system's clock is set to 1970 or before");
/// ```
pub fn now_ns() -> u64 {
    since_epoch_ns(SystemTime::now())
}

/// Nanoseconds of a clock that never goes back (`CLOCK_MONOTONIC`), counted from the first call in
/// this process.
///
/// Comparable between threads of one process, not between processes.
///
/// # Examples
/// ```
/// use tickcast::runtime::clock::monotonic_ns;
///
/// let began_ns = monotonic_ns();
/// let took_ns = monotonic_ns() - began_ns;
/// # let _ = took_ns;
/// ```
pub fn monotonic_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    whole_ns(START.get_or_init(Instant::now).elapsed())
}

/// A duration in nanoseconds; `u64` holds 584 years, so the bound is never met in practice.
pub(super) fn whole_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn since_epoch_ns(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, whole_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_epoch_and_clamps_before_it() {
        assert_eq!(since_epoch_ns(UNIX_EPOCH), 0);
        assert_eq!(since_epoch_ns(UNIX_EPOCH + Duration::new(2, 7)), 2_000_000_007);
        assert_eq!(since_epoch_ns(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }

    #[test]
    fn a_duration_beyond_u64_is_bounded() {
        assert_eq!(whole_ns(Duration::from_nanos(u64::MAX)), u64::MAX);
        assert_eq!(whole_ns(Duration::MAX), u64::MAX);
    }

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let times: Vec<u64> = (0..1000).map(|_| monotonic_ns()).collect();
        assert!(times.is_sorted());
    }
}
