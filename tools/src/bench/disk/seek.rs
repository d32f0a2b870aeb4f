//! How often a replay reads to find its start in a journal of 100 GiB: sparse files, in which the
//! blocks are that a search by halves comes to, and those that are looked for.
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::iter;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tickcast::{Event, Flow, Replay, StartAt, SyncPolicy};

use super::Setup;
use super::format::{BLOCK_BYTES, BLOCK_MESSAGES, Log};
use super::goals::SEEK_GOALS;
use super::recording::{self, Old, Recording, SEGMENT_BYTES};
use super::trial::{Found, Trial};
use tickcast_harness::interrupt::Interrupted;
use tickcast_harness::statistics::Samples;
use tickcast_harness::verdict::Judged;
use tickcast_harness::{Curve, CurveKind};

const BLOCKS: u64 = (100 << 30) / BLOCK_BYTES as u64;
const SEGMENT_BLOCKS: u64 = SEGMENT_BYTES / BLOCK_BYTES as u64;
const INTERVAL_NS: u64 = 1_000;

/// Targets of a block for each second that is measured, and at most.
const TARGETS_PER_S: u64 = 100;
const TARGETS_MAX: u64 = 1_000;

/// Seeks between two looks whether the user wants an end.
const LOOK_EVERY: usize = 64;

/// Of the topic: nobody publishes to it.
const RING_BYTES: u64 = 1 << 20;

/// Where a topic's file has its log id.
const LOG_ID: Range<usize> = 16..32;

/// What the figures of a block are.
pub(crate) const SEEK_COLUMNS: [&str; 4] = ["most / bound", "most reads", "mean reads", "mean us"];

/// Who takes part.
const CONTENDERS: [(&str, Way); 2] = [("by offset", Way::Offset), ("by time", Way::Time)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Offset,
    Time,
}

/// What so many seeks took.
#[derive(Debug, Clone)]
struct Sought {
    times: Samples,
    reads: u64,
    reads_max: u64,
}

/// Counts; where there is no room for such files, says so.
///
/// # Errors
/// When a seek fails, or the user wants an end.
pub(super) fn run(setup: &Setup, duration: Duration) -> Result<Found> {
    let trial = Trial {
        title: "seek: reads until a replay has its first message, in a journal of 100 GiB",
        contenders: CONTENDERS.map(|(name, _)| name.to_owned()).to_vec(),
        columns: &SEEK_COLUMNS,
        drawn: "mean us",
        goals: &SEEK_GOALS,
        limited: &[],
        notes: vec![
            format!(
                "{BLOCKS} blocks in segments of {} MiB, all of messages of 48 bytes",
                SEGMENT_BYTES >> 20
            ),
            format!("the bound is 2 + log2(blocks): {:.2} reads for any seek", bound()),
            "the files are sparse: only what a search comes to is written".to_owned(),
        ],
        fault: "",
    };
    let count = (duration.as_secs() * TARGETS_PER_S).clamp(TARGETS_PER_S, TARGETS_MAX);
    let targets = targets(count);
    let (dir, log) = make_topic(setup)?;
    match lay_out(setup, &dir, &log, &targets) {
        Ok(()) => {}
        Err(error) if error.is::<Interrupted>() => return Err(error),
        Err(error) => return Ok(trial.skip(format!("skipped, as there is no room: {error:#}"))),
    }
    let mut whole = CONTENDERS.map(|_| Samples::default());
    let mut found = trial.run(
        Duration::ZERO,
        &setup.interrupt,
        |at| seek(setup, &dir, &log, CONTENDERS[at].1, &targets),
        |blocks| {
            whole.iter_mut().zip(blocks).for_each(|(whole, sought)| whole.add(&sought.times));
            blocks.iter().map(judge).collect()
        },
    )?;
    let curve = |((name, _), whole): ((&str, _), _)| {
        Curve::of(format!("seek {name}"), CurveKind::Journal, whole, &setup.clock)
    };
    found.curves = CONTENDERS.into_iter().zip(whole).map(curve).collect();
    Ok(found)
}

/// Reads that are not too many.
fn bound() -> f64 {
    2.0 + (BLOCKS as f64).log2()
}

/// Offsets anywhere in the log, the same ones in every run.
fn targets(count: u64) -> Vec<u64> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % (BLOCKS * BLOCK_MESSAGES)
    };
    (0..count).map(|_| next()).collect()
}

/// The directory of a journal that has no segments, and what its log is.
fn make_topic(setup: &Setup) -> Result<(PathBuf, Log)> {
    let Setup { bus, place, .. } = setup;
    let (recording, journal) =
        Recording::begin(bus, place, "sought", RING_BYTES, SyncPolicy::None, Old::Kept)?;
    drop(journal);
    let dir = recording.dir().to_owned();
    let topic = fs::read(dir.join("topic")).context("cannot read the topic's file")?;
    let (words, _) = topic.get(LOG_ID).context("the topic's file is too short")?.as_chunks();
    let id = [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])];
    for segment in recording::segments(&dir)? {
        fs::remove_file(segment).context("cannot remove an empty segment")?;
    }
    Ok((dir, Log { id, interval_ns: INTERVAL_NS }))
}

/// Makes all segments, and writes what searches for `targets` come to.
fn lay_out(setup: &Setup, dir: &Path, log: &Log, targets: &[u64]) -> Result<()> {
    // Whether a block is needed as a whole.
    let mut blocks: BTreeMap<u64, bool> = BTreeMap::new();
    for &target in targets {
        let time_ns = log.timestamp_ns(target);
        let by_offset = path(|number| Log::first_offset(number) < target);
        let by_time = path(|number| log.timestamp_max_ns(number) < time_ns);
        for number in by_offset.chain(by_time) {
            blocks.entry(number).or_insert(false);
        }
        // The message is in its block, and the search for an offset may end with the one before.
        let number = target / BLOCK_MESSAGES;
        blocks.insert(number, true);
        blocks.insert(number.saturating_sub(1), true);
    }
    for first in (0..BLOCKS).step_by(SEGMENT_BLOCKS as usize) {
        setup.interrupt.check()?;
        let path = dir.join("0").join(format!("{first:016x}.segment"));
        let write = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
            file.set_len(SEGMENT_BYTES)?;
            for (&number, &is_whole) in blocks.range(first..first + SEGMENT_BLOCKS) {
                let bytes = if is_whole { log.block(number) } else { log.first_page(number) };
                file.write_all_at(&bytes, (number - first) * BLOCK_BYTES as u64)?;
            }
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The blocks that a search by halves comes to: the last one is found that is `before` the place
/// that is looked for.
fn path(before: impl Fn(u64) -> bool) -> impl Iterator<Item = u64> {
    let (mut low, mut high) = (0, BLOCKS);
    iter::from_fn(move || {
        let middle = low + (high - low) / 2;
        (low < high).then(|| {
            if before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
            middle
        })
    })
}

fn seek(setup: &Setup, dir: &Path, log: &Log, way: Way, targets: &[u64]) -> Result<Sought> {
    let (mut times, mut reads, mut reads_max) = (Samples::default(), 0, 0);
    for (number, &target) in targets.iter().enumerate() {
        if number.is_multiple_of(LOOK_EVERY) {
            setup.interrupt.check()?;
        }
        let from = match way {
            Way::Offset => StartAt::Offset(target),
            Way::Time => StartAt::Time(log.timestamp_ns(target)),
        };
        let mut found = None;
        let start = setup.clock.now();
        let counters = Replay::open(dir)?.from(from).run(|event| {
            if let Event::Message(message) = event {
                found = Some(message.offset);
            }
            Flow::Stop
        })?;
        times.record(setup.clock.ns_since(start));
        ensure!(
            found == Some(target),
            "a seek to message {target} found {found:?}: the search came to blocks that this \
             benchmark did not expect, and so did not write"
        );
        reads += counters.reads;
        reads_max = reads_max.max(counters.reads);
    }
    Ok(Sought { times, reads, reads_max })
}

fn judge(sought: &Sought) -> Judged {
    let Sought { times, reads, reads_max } = sought;
    let (seeks, reads_max) = (times.len(), *reads_max as f64);
    Judged {
        valid: true,
        count: seeks,
        figures: vec![
            Some(reads_max / bound()),
            Some(reads_max),
            Some(*reads as f64 / seeks as f64),
            Some(times.mean_ns() / 1e3),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_by_halves_comes_to_the_last_block_before_and_to_the_one_behind() {
        for wanted in [0, 1, 777, BLOCKS / 2, BLOCKS - 2] {
            let probed: Vec<u64> = path(|number| number <= wanted).collect();
            assert!(probed.len() as f64 <= 1.0 + (BLOCKS as f64).log2(), "{probed:?}");
            assert!(probed.contains(&wanted) && probed.contains(&(wanted + 1)), "{probed:?}");
        }
    }
}
