//! The last part of the demonstration: the same messages go to a journal on disk, and come back
//! from it. Change here how many.

use std::env;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tickcast::runtime::{Core, IdleStrategy, clock};
use tickcast::{Bus, Event, Replay};

use super::checksum::Checksum;
use super::table::grouped;
use super::tape::Tape;
use crate::interrupt::Interrupt;

const TOPIC: &str = "market-data";

/// So many bytes of payload go to disk, at least.
const BYTES: u64 = 128 << 20;

/// Messages between two looks at the user's wish to end.
const LOOK_EVERY: u64 = 4096;

/// What was recorded, and what came back.
pub(super) struct Recording {
    messages: u64,
    bytes: u64,
    written: Duration,
    replayed: Duration,
    verified: bool,
}

/// A directory for the files of one run.
struct TemporaryDir(PathBuf);

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// Journals the tape, again and again, and replays the journal.
///
/// # Errors
/// When that cannot be done, or the user wants an end.
pub(super) fn record(bus: &Bus, tape: &Tape, interrupt: &Interrupt) -> Result<Recording> {
    let path = env::temp_dir().join(format!("tickcast-demo-{}", process::id()));
    fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let dir = TemporaryDir(path);
    let topic = bus.topic(&format!("{TOPIC}-journaled")).create().context("cannot make a topic")?;
    let journal = topic.journal(&dir.0).open().context("cannot journal")?;
    let files = journal.dir().to_owned();
    let core = Core::builder("journal").idle(IdleStrategy::back_off()).agent(Box::new(journal));
    let core = core.start().context("cannot start a thread")?;

    let mut publisher = topic.publisher(0).context("cannot publish")?;
    let start = Instant::now();
    let (mut messages, mut bytes) = (0, 0);
    while bytes < BYTES || messages < tape.len() {
        if messages % LOOK_EVERY == 0 {
            interrupt.check()?;
        }
        let message = tape.message(messages);
        publisher.publish(clock::now_ns(), message).context("cannot publish")?;
        (messages, bytes) = (messages + 1, bytes + message.len() as u64);
    }
    // It ends when everything is on disk.
    core.stop().context("the journal failed")?;
    let written = start.elapsed();

    let mut checksum = Checksum::default();
    let start = Instant::now();
    let counters = Replay::open(&files).context("cannot replay")?.run(|event| {
        if let Event::Message(message) = event {
            checksum.add(message.offset, message.payload);
        }
    })?;
    let replayed = start.elapsed();
    let verified = counters.messages == messages && checksum.value() == tape.checksum(messages);
    Ok(Recording { messages, bytes, written, replayed, verified })
}

impl Recording {
    /// # Errors
    /// When what came back is not what went there.
    pub(super) fn check(&self) -> Result<()> {
        if self.verified { Ok(()) } else { bail!("the journal FAILED") }
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recording { messages, bytes, written, replayed, verified } = self;
        let rate = |took: &Duration| *messages as f64 / took.as_secs_f64() / 1e6;
        writeln!(
            f,
            "journal    {} messages, {} MB, on disk after {:.2} s ({:.1} M msg/s)",
            grouped(*messages),
            grouped(bytes / 1_000_000),
            written.as_secs_f64(),
            rate(written)
        )?;
        writeln!(
            f,
            "replay     in {:.2} s ({:.1} M msg/s); {}",
            replayed.as_secs_f64(),
            rate(replayed),
            if *verified { "all of them, in order, byte for byte" } else { "FAILED" }
        )
    }
}
