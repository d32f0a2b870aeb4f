//! Sizes in bytes, as they are given and shown: 64MiB.

const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// Reads a number of bytes with or without a binary unit.
///
/// # Errors
/// What to give instead.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let shift = match unit.trim_start() {
        "" | "B" => Some(0),
        unit => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, at)| *at),
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .zip(shift)
        .and_then(|(number, shift)| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "give bytes, or KiB, MiB or GiB, such as 64MiB".to_owned())
}

/// The largest unit of which there is one at least, with one decimal where it is not whole.
pub(crate) fn show(bytes: u64) -> String {
    match UNITS.iter().rev().find(|(_, shift)| bytes >> shift > 0) {
        None => format!("{bytes} B"),
        Some((unit, shift)) if bytes.trailing_zeros() >= *shift => {
            format!("{} {unit}", bytes >> shift)
        }
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / (1_u64 << shift) as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_units_and_plain_bytes_are_read() {
        for (text, bytes) in [
            ("262144", 1 << 18),
            ("262144B", 1 << 18),
            ("256KiB", 1 << 18),
            ("64MiB", 1 << 26),
            ("64 mib", 1 << 26),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "MiB", "64MB", "64M", "-1", "1.5GiB", "1 2", "99999999999999TiB"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1 << 26, "64 MiB"), ((1 << 20) + (1 << 18), "1.2 MiB")]
        {
            assert_eq!(show(bytes), text);
        }
    }
}
