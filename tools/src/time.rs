//! Times and durations, as they are given and shown.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Reads a number of seconds.
///
/// # Errors
/// What to give instead.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "give a number of seconds, such as 2.5".to_owned())
}

/// Reads a number of days.
pub(crate) fn days(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(|days: f64| days * 86_400.0);
    let age = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    age.ok_or_else(|| "give a number of days, such as 7 or 0.5".to_owned())
}

/// Reads a duration with its unit that is not 0: 100ms.
pub(crate) fn interval(text: &str) -> Option<Duration> {
    let interval: SignedDuration = text.parse().ok()?;
    Duration::try_from(interval).ok().filter(|interval| !interval.is_zero())
}

/// Reads a time in RFC 3339 (2026-01-02T03:04:05.006Z, or with an offset from UTC in place of the
/// Z), or with the unit ns in nanoseconds since the Unix epoch. Returns these.
pub(crate) fn timestamp_ns(text: &str) -> Option<u64> {
    match text.strip_suffix("ns") {
        Some(number) => number.parse().ok(),
        None => text.parse::<Timestamp>().ok()?.as_nanosecond().try_into().ok(),
    }
}

/// A time in RFC 3339, to the nanosecond, in UTC.
pub(crate) fn show(timestamp_ns: u64) -> String {
    match Timestamp::from_nanosecond(timestamp_ns.into()) {
        Ok(time) => format!("{time:.9}"),
        // None that a `u64` has, as it ends in the year 2554.
        Err(_) => format!("{timestamp_ns}ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond_in_every_zone() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-02T03:04:05Z", 1_767_323_045_000_000_000),
            ("2026-01-02t03:04:05.000000006z", 1_767_323_045_000_000_006),
            ("2026-01-02T05:04:05.5+02:00", 1_767_323_045_500_000_000),
            ("2026-01-01T22:04:05-05:00", 1_767_323_045_000_000_000),
            ("1767323045000000000ns", 1_767_323_045_000_000_000),
            ("0ns", 0),
            ("18446744073709551615ns", u64::MAX),
        ] {
            assert_eq!(timestamp_ns(text), Some(ns), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_since_1970_is_refused() {
        for text in [
            "",
            "ns",
            "17",
            "-1ns",
            "1.5ns",
            "18446744073709551616ns",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-13-02T03:04:05Z",
            "1969-12-31T23:59:59Z",
            "2600-01-01T00:00:00Z",
            "yesterday",
        ] {
            assert_eq!(timestamp_ns(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_time_that_is_shown_can_be_given() {
        for ns in [0, 1, 1_767_323_045_000_000_006, u64::MAX] {
            assert_eq!(timestamp_ns(&show(ns)), Some(ns));
        }
        assert_eq!(show(1_767_323_045_000_000_006), "2026-01-02T03:04:05.000000006Z");
    }

    #[test]
    fn an_interval_has_a_unit_and_is_not_0() {
        for (text, ms) in [("100ms", 100), ("2s", 2000), ("0.5s", 500), ("1m", 60_000)] {
            assert_eq!(interval(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "100", "0ms", "-1s", "ms", "soon"] {
            assert_eq!(interval(text), None, "{text:?}");
        }
    }
}
