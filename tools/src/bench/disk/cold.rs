//! How fast a replay is whose files are not in the page cache, beside bare reads of the same files.
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Setup;
use super::direct::{Direct, Pages, Span, Work};
use super::goals::{COLD_GOALS, for_ticks};
use super::recorded::Recorded;
use super::trial::{Found, Trial};
use tickcast_harness::verdict::Judged;

/// What the figures of a block are.
pub(crate) const COLD_COLUMNS: [&str; 3] = ["x bare", "MB/s", "from disk, %"];

const BARE: usize = 0;

/// Less than this share from the disk, and the page cache was not dropped.
const FROM_DISK_MIN: f64 = 0.95;

/// All of the journal.
#[derive(Debug, Clone, Copy)]
struct Read {
    messages: u64,
    bytes_per_s: f64,
    /// Share of the bytes that this process had the disk read meanwhile.
    from_disk: f64,
}

/// Compares.
///
/// # Errors
/// When a contender fails, or the user wants an end.
pub(super) fn run(setup: &Setup, recorded: &Recorded, duration: Duration) -> Result<Found> {
    let Setup { place, interrupt, .. } = setup;
    let mut direct = Direct::new(Pages::Huge)?;
    let open = |(path, bytes): (PathBuf, u64)| Ok((place.open(&path)?, bytes));
    let files: Vec<(File, u64)> = recorded.files()?.into_iter().map(open).collect::<Result<_>>()?;
    let spans: Vec<Span> = files.iter().map(|(file, bytes)| Span { file, bytes: *bytes }).collect();
    let (request, _) = direct.best(Work::Read, &spans, || {
        interrupt.check()?;
        recorded.cool()
    })?;
    let trial = Trial {
        title: "replay from the disk: the page cache has nothing of the files",
        contenders: ["bare reads", "replay"].map(str::to_owned).to_vec(),
        columns: &COLD_COLUMNS,
        drawn: "MB/s",
        goals: for_ticks(recorded.payload, &COLD_GOALS),
        limited: &["replay"],
        notes: vec![
            format!("{} MiB of log in messages of {}", recorded.bytes >> 20, recorded.payload),
            format!(
                "bare: {}, the best of several sizes and depths, into huge pages where granted",
                request.name()
            ),
        ],
        fault: "found the page cache full",
    };
    trial.run(
        duration,
        interrupt,
        |at| {
            recorded.cool()?;
            place.settle()?;
            let before = read_bytes()?;
            let (messages, bytes_per_s) = if at == BARE {
                (0, direct.rate(Work::Read, &spans, request)?)
            } else {
                let start = Instant::now();
                let walked = recorded.replay()?;
                (walked.messages, recorded.bytes as f64 / start.elapsed().as_secs_f64())
            };
            let from_disk = (read_bytes()? - before) as f64 / recorded.bytes as f64;
            Ok(Read { messages, bytes_per_s, from_disk })
        },
        judge,
    )
}

/// Bytes that this process had the disk read so far.
fn read_bytes() -> Result<u64> {
    let counters = fs::read_to_string("/proc/self/io").context("cannot read /proc/self/io")?;
    let count = counters.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    let count = count.context("/proc/self/io does not count what is read")?;
    count.trim().parse().with_context(|| format!("/proc/self/io counts what is read as {count}"))
}

fn judge(blocks: &[Read]) -> Vec<Judged> {
    let judge = |block: &Read| Judged {
        valid: block.from_disk >= FROM_DISK_MIN,
        count: block.messages,
        figures: vec![
            Some(block.bytes_per_s / blocks[BARE].bytes_per_s),
            Some(block.bytes_per_s / 1e6),
            Some(block.from_disk * 100.0),
        ],
    };
    blocks.iter().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_the_page_cache_does_not_count() {
        let read = |bytes_per_s, from_disk| Read { messages: 10, bytes_per_s, from_disk };
        let judged = judge(&[read(100.0, 1.0), read(90.0, 1.1), read(500.0, 0.2)]);
        assert_eq!(judged[1].figures[0], Some(0.9));
        assert_eq!([0, 1, 2].map(|at: usize| judged[at].valid), [true, true, false]);
    }
}
