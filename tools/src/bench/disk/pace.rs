//! How late messages come in a replay at the recorded pace, beside how late a loop is on the same
//! core that does nothing but wait for the same times: the hiccups of the core.
use std::hint::spin_loop;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tickcast::{Event, Replay, Speed, Until};

use super::recorded::Recorded;
use super::trial::{Found, Trial};
use super::{Setup, per_s};
use tickcast_harness::statistics::{Percentile, Samples};
use tickcast_harness::verdict::Judged;

/// A block takes this share of the time, and at most so long.
const BLOCKS: u32 = 8;
const BLOCK_MAX: Duration = Duration::from_millis(510);

/// What the figures of a block are.
const COLUMNS: [&str; 4] = ["p50 ns", "p99 ns", "p99.9 ns", "most, us"];

/// Who takes part, and how much slower than recorded: then the replay sleeps between messages.
const CONTENDERS: [(&str, Way, u64); 5] = [
    ("bare wait", Way::Bare, 1),
    ("replay", Way::Cached, 1),
    ("replay", Way::Cold, 1),
    ("bare wait", Way::Bare, SLOWER),
    ("replay", Way::Cached, SLOWER),
];
const SLOWER: u64 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing is replayed.
    Bare,
    /// From the page cache.
    Cached,
    /// From the disk.
    Cold,
}

/// How late the messages of a block were.
#[derive(Debug, Clone, Copy)]
struct Late {
    messages: u64,
    p50_ns: Option<f64>,
    p99_ns: Option<f64>,
    p99_9_ns: Option<f64>,
    most_ns: f64,
}

/// Compares.
///
/// # Errors
/// When a contender fails, or the user wants an end.
pub(super) fn run(setup: &Setup, recorded: &Recorded, duration: Duration) -> Result<Found> {
    let block = (duration / BLOCKS).min(BLOCK_MAX);
    let name = |(name, way, slowness)| {
        let suffix = if way == Way::Cold { ", cold" } else { "" };
        format!("{name}, {}{suffix}", per_s(recorded.rate / slowness))
    };
    let trial = Trial {
        title: "replay at the recorded pace: how late messages come",
        contenders: CONTENDERS.map(name).to_vec(),
        columns: &COLUMNS,
        drawn: "p99 ns",
        goals: &[],
        limited: &[],
        notes: vec![
            "bare wait: spins until each message is due, which shows the hiccups of the core"
                .to_owned(),
            "from the page cache where it does not say cold".to_owned(),
            "late is behind its time, counted from the most punctual message of the block"
                .to_owned(),
        ],
        fault: "",
    };
    trial.run(
        duration,
        &setup.interrupt,
        |at| {
            let (_, way, slowness) = CONTENDERS[at];
            let messages = (block.as_secs_f64() * (recorded.rate / slowness) as f64) as u64;
            let messages = messages.clamp(1, recorded.messages);
            let due_ns = |number| recorded.timestamp_ns(number) * slowness;
            let speed = match slowness {
                1 => Speed::Recorded,
                _ => Speed::Times(1.0 / slowness as f64),
            };
            let arrivals = match way {
                Way::Bare => wait(messages, due_ns),
                Way::Cached => {
                    replay(recorded, messages, Speed::Max)?;
                    replay(recorded, messages, speed)?
                }
                Way::Cold => {
                    recorded.cool()?;
                    replay(recorded, messages, speed)?
                }
            };
            late(&arrivals, due_ns)
        },
        |blocks| blocks.iter().map(judge).collect(),
    )
}

/// When each message came, since the first look at the clock.
type Arrivals = Vec<Duration>;

fn wait(messages: u64, due_ns: impl Fn(u64) -> u64) -> Arrivals {
    let start = Instant::now();
    let wait = |number| {
        let due = Duration::from_nanos(due_ns(number));
        loop {
            let now = start.elapsed();
            if now >= due {
                break now;
            }
            spin_loop();
        }
    };
    (0..messages).map(wait).collect()
}

fn replay(recorded: &Recorded, messages: u64, speed: Speed) -> Result<Arrivals> {
    let mut arrivals = Vec::with_capacity(messages as usize);
    let start = Instant::now();
    let replay = Replay::open(recorded.dir())?.speed(speed).until(Until::Offset(messages));
    replay.run(|event| {
        if let Event::Message(_) = event {
            arrivals.push(start.elapsed());
        }
    })?;
    let found = arrivals.len() as u64;
    ensure!(found == messages, "the journal has {found} of the first {messages} messages");
    Ok(arrivals)
}

fn late(arrivals: &[Duration], due_ns: impl Fn(u64) -> u64) -> Result<Late> {
    // Nobody is early, so the most punctual one shows when all began.
    let behind = || {
        (0..)
            .zip(arrivals)
            .map(|(number, arrival)| arrival.as_nanos() as i64 - due_ns(number) as i64)
    };
    let began_ns = behind().min().unwrap_or(0);
    let mut late = Samples::default();
    behind().for_each(|behind_ns| late.record((behind_ns - began_ns) as u64));
    let percentile = |percentile: Percentile| percentile.of(&late, 1.0);
    Ok(Late {
        messages: late.len(),
        p50_ns: percentile(Percentile::P50),
        p99_ns: percentile(Percentile::P99),
        p99_9_ns: percentile(Percentile::P999),
        most_ns: late.max_ns() as f64,
    })
}

fn judge(late: &Late) -> Judged {
    let Late { messages, p50_ns, p99_ns, p99_9_ns, most_ns } = *late;
    Judged {
        valid: true,
        count: messages,
        figures: vec![p50_ns, p99_ns, p99_9_ns, Some(most_ns / 1e3)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_counts_from_the_most_punctual_message() {
        // The first one comes 5 us late, and the others at its own pace.
        let after_ns = |number: u64| number * 1_000 + if number == 0 { 6_000 } else { 1_000 };
        let arrivals: Vec<Duration> =
            (0..1000).map(|number| Duration::from_nanos(after_ns(number))).collect();
        let late = late(&arrivals, |number| number * 1_000).unwrap();
        assert_eq!((late.messages, late.p99_9_ns), (1000, None));
        assert!(late.p50_ns.unwrap() <= 1.0, "{late:?}");
        assert!((late.most_ns - 5_000.0).abs() < 10.0, "{late:?}");
    }
}
