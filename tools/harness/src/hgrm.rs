//! Distributions in the text format that HdrHistogram's tools write and plot
//! (<https://hdrhistogram.github.io/HdrHistogram/plotFiles.html>): value, percentile, count up to
//! it, 1/(1-percentile).
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::output::Output;
use crate::report::Curve;
use crate::statistics::Samples;

/// Lines to each halving of what is beyond.
const LINES_PER_HALVING: u32 = 5;

/// Writes a file for each distribution: `main` for the first, and beside it one named after each
/// other. Where the first has no times, says so.
///
/// # Errors
/// When one cannot be written.
pub(crate) fn write(curves: &[&Curve], main: Output) -> Result<()> {
    let path = main.path().to_owned();
    let Some((first, others)) = curves.split_first() else { return Ok(()) };
    if first.whole.is_empty() {
        eprintln!(
            "tickcast: warning: nothing is written to {}: no time of {} was measured that counts",
            path.display(),
            first.name
        );
    } else {
        main.write(of(&first.whole, first.cost_ns).as_bytes())?;
    }
    others.iter().filter(|curve| !curve.whole.is_empty()).try_for_each(|curve| {
        let text = of(&curve.whole, curve.cost_ns);
        Output::open(&beside(&path, &curve.name))?.write(text.as_bytes())
    })
}

/// `latency.hgrm` and "bare hand-off" give `latency.bare-hand-off.hgrm`.
fn beside(path: &Path, name: &str) -> PathBuf {
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
    let extension = path.extension().unwrap_or("hgrm".as_ref()).to_string_lossy().into_owned();
    path.with_extension(format!("{name}.{extension}"))
}

/// The text for `samples`, in ns net of `cost_ns` each.
fn of(samples: &Samples, cost_ns: f64) -> String {
    let net = |ns: f64| (ns - cost_ns).max(0.0);
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let total = samples.len();
    let (mut so_far, mut step) = (0, 0);
    for (value, count) in samples.counts() {
        so_far += count;
        let share = so_far as f64 / total as f64;
        // Always the last one, and those that pass the next line's percentile.
        if so_far < total
            && share < 1.0 - 0.5f64.powf(f64::from(step) / f64::from(LINES_PER_HALVING))
        {
            continue;
        }
        while 1.0 - 0.5f64.powf(f64::from(step) / f64::from(LINES_PER_HALVING)) <= share
            && so_far < total
        {
            step += 1;
        }
        let inverse =
            if so_far < total { format!("{:>14.2}", 1.0 / (1.0 - share)) } else { String::new() };
        text.push_str(
            format!("{:>12.3} {share:>14.12} {so_far:>10} {inverse}", net(value as f64)).trim_end(),
        );
        text.push('\n');
    }
    let (mean, stdev) = (net(samples.mean_ns()), samples.stdev_ns());
    text.push_str(&format!("#[Mean    = {mean:>12.3}, StdDeviation   = {stdev:>12.3}]\n"));
    let max = net(samples.max_ns() as f64);
    text.push_str(&format!("#[Max     = {max:>12.3}, Total count    = {total:>12}]\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_the_columns_of_the_format_and_ends_at_all_samples() {
        let mut samples = Samples::default();
        (1..=1000).for_each(|ns| samples.record(ns));
        let text = of(&samples, 0.0);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap()).collect())
            .collect();
        assert!(rows.len() > 20, "{text}");
        assert_eq!(rows.last().unwrap(), &[1000.0, 1.0, 1000.0], "{text}");
        for row in &rows[..rows.len() - 1] {
            assert_eq!(row[0], row[2], "n of the values 1, 2, 3 are at most n");
            assert!((row[3] * (1.0 - row[1]) - 1.0).abs() < 0.01, "{row:?}");
        }
        assert!(
            text.contains("#[Max     =     1000.000, Total count    =         1000]"),
            "{text}"
        );
    }

    #[test]
    fn where_there_is_nothing_there_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.hgrm");
        write(&[], Output::open(&path).unwrap()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn files_beside_are_named_after_what_they_hold() {
        let path = beside(Path::new("/tmp/l.hgrm"), "tickcast, one way, 100 k/s");
        assert_eq!(path, Path::new("/tmp/l.tickcast-one-way-100-k-s.hgrm"));
        assert_eq!(beside(Path::new("l"), "a"), Path::new("l.a.hgrm"));
    }
}
