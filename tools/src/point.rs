//! Points of a log on the command line: a plain number is an offset, and a time is a date or has a
//! unit.

use std::str::FromStr;

use tickcast::{StartAt, Until};

use crate::time;

/// A message, or the first one at a time or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Offset(u64),
    /// ns since the Unix epoch.
    Time(u64),
}

impl FromStr for Point {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let offset = text.parse().ok().map(Self::Offset);
        let point = offset.or_else(|| time::timestamp_ns(text).map(Self::Time));
        point.ok_or(
            "an offset from 0, or a time such as 2026-01-02T03:04:05Z or 1767323045000000000ns",
        )
    }
}

impl From<Point> for StartAt {
    fn from(point: Point) -> Self {
        match point {
            Point::Offset(offset) => Self::Offset(offset),
            Point::Time(time_ns) => Self::Time(time_ns),
        }
    }
}

/// Where to start in a ring.
///
/// # Errors
/// What to give instead.
pub(crate) fn in_ring(text: &str) -> Result<StartAt, String> {
    match text {
        "live" => Ok(StartAt::Live),
        "earliest" => Ok(StartAt::Earliest),
        text => {
            let point: Result<Point, _> = text.parse();
            point.map(Point::into).map_err(|points| format!("give live, earliest, {points}"))
        }
    }
}

/// Where to start in a journal.
///
/// # Errors
/// What to give instead.
pub(crate) fn in_journal(text: &str) -> Result<StartAt, String> {
    match text {
        "earliest" => Ok(StartAt::Earliest),
        text => {
            let point: Result<Point, _> = text.parse();
            point.map(Point::into).map_err(|points| format!("give earliest, {points}"))
        }
    }
}

/// Where to end.
///
/// # Errors
/// What to give instead.
pub(crate) fn end(text: &str) -> Result<Until, String> {
    match text.parse() {
        Ok(Point::Offset(offset)) => Ok(Until::Offset(offset)),
        Ok(Point::Time(time_ns)) => Ok(Until::Time(time_ns)),
        Err(points) => Err(format!("give {points}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_an_offset_and_one_with_a_unit_a_time() {
        const TIME_NS: u64 = 1_767_323_045_000_000_000;
        for (text, point) in [
            ("0", StartAt::Offset(0)),
            ("17", StartAt::Offset(17)),
            ("1767323045000000000", StartAt::Offset(TIME_NS)),
            ("17ns", StartAt::Time(17)),
            ("1767323045000000000ns", StartAt::Time(TIME_NS)),
            ("2026-01-02T03:04:05Z", StartAt::Time(TIME_NS)),
            ("2026-01-02T04:04:05+01:00", StartAt::Time(TIME_NS)),
            ("earliest", StartAt::Earliest),
        ] {
            assert_eq!(in_journal(text), Ok(point), "{text}");
            assert_eq!(in_ring(text), Ok(point), "{text}");
        }
        assert_eq!(in_ring("live"), Ok(StartAt::Live));
        assert_eq!(end("17"), Ok(Until::Offset(17)));
        assert_eq!(end("17ns"), Ok(Until::Time(17)));
    }

    #[test]
    fn everything_else_is_refused_with_what_to_give() {
        for text in ["", "-1", "1.5", "18446744073709551616", "latest", "2026-01-02", "17 ns"] {
            assert!(in_ring(text).unwrap_err().starts_with("give live, earliest, an offset"));
            assert!(in_journal(text).unwrap_err().starts_with("give earliest, an offset"));
            assert!(end(text).unwrap_err().starts_with("give an offset"), "{text:?}");
        }
        assert!(in_journal("live").is_err() && end("earliest").is_err());
    }
}
