//! A topic with a journal, as the benchmarks use it: a publisher that floods, and segments that are
//! used again or not.
use std::collections::BTreeSet;
use std::fs;
use std::hint::spin_loop;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tickcast::{Journal, JournalState, Publisher, SyncPolicy};

use super::place::Place;
use tickcast_harness::message::Words;
use tickcast_harness::temporary::TemporaryBus;

/// Bytes of a segment: what a journal has unless it is told otherwise.
pub(super) const SEGMENT_BYTES: u64 = 64 << 20;

/// Segments that a journal has before it uses old ones again: what it keeps and is not durable,
/// what it writes, has ready and has spare.
pub(super) const SEGMENTS_IN_TURN: u64 = 8;

/// Segments of one that makes new ones which are not its old ones: what is written, and what is
/// ready.
const SEGMENTS_IN_USE: usize = 2;

/// Without progress for so long the disk is taken for broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one who waits for the journal sleeps: to look is a few hundred system calls.
const LOOK_AGAIN: Duration = Duration::from_micros(300);

/// Looks at what is durable before the journal's state is looked at, too: some 10 ms.
const LOOKS: u32 = 1 << 20;

/// What becomes of old segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Old {
    /// They are used again.
    Recycled,
    Kept,
}

/// A topic with one partition, its publisher, and the directory of its journal.
pub(super) struct Recording {
    pub(super) publisher: Publisher,
    dir: PathBuf,
}

/// How far the log is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) offset: u64,
    /// In bytes of log.
    pub(super) position: u64,
    written_offset: u64,
}

impl Recording {
    /// Makes the topic; the journal is to be polled on the other core.
    ///
    /// # Errors
    /// When shared memory or the disk is full.
    pub(super) fn begin(
        bus: &TemporaryBus,
        place: &Place,
        name: &str,
        ring_bytes: u64,
        sync: SyncPolicy,
        old: Old,
    ) -> Result<(Self, Journal)> {
        let topic = bus.create_topic(name, ring_bytes)?;
        // Nobody waits for ever where the disk has failed.
        let settings = topic.journal(place.path()).sync(sync).give_up_after(PATIENCE);
        let settings = match old {
            Old::Recycled => settings.keep_bytes(1),
            Old::Kept => settings,
        };
        let journal = settings.open().with_context(|| format!("cannot journal {name}"))?;
        let publisher = topic.publisher(0).with_context(|| format!("cannot publish to {name}"))?;
        let dir = journal.dir().to_owned();
        Ok((Self { publisher, dir }, journal))
    }

    /// The directory of the journal.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Publishes `messages`, waiting where there is no room; each is a microsecond after the other.
    ///
    /// # Errors
    /// When the bus is gone.
    pub(super) fn flood<const W: usize>(
        &mut self,
        payload: &Words<W>,
        messages: u64,
    ) -> Result<()> {
        let first = self.publisher.next_offset();
        for offset in first..first + messages {
            self.publisher.publish(offset * 1_000, payload)?;
        }
        Ok(())
    }

    /// Publishes until as many segments were written as the journal takes in turn.
    ///
    /// # Errors
    /// When the journal has failed.
    pub(super) fn fill_segments(&mut self) -> Result<()> {
        const PAYLOAD: Words<128> = [0; 128];
        let payload_bytes = size_of_val(&PAYLOAD) as u64;
        self.flood(&PAYLOAD, SEGMENTS_IN_TURN * SEGMENT_BYTES / payload_bytes)?;
        self.wait_written(self.publisher.next_offset())
    }

    /// # Errors
    /// When the journal has failed.
    pub(super) fn head(&self) -> Result<Head> {
        let stat = self.publisher.topic().stat().context("cannot read the journal's state")?;
        let partition = stat.partitions.first().context("a topic without a partition")?;
        let journal = partition.journal.as_ref().context("a topic without a journal")?;
        ensure!(
            journal.state == JournalState::Running && journal.is_waited_for,
            "the journal has failed: {}",
            journal.last_error.as_deref().unwrap_or("the disk was too slow")
        );
        Ok(Head {
            offset: partition.next_offset,
            position: partition.position,
            written_offset: journal.written_offset,
        })
    }

    /// Waits until everything below `offset` is written.
    ///
    /// # Errors
    /// When the journal has failed, or makes no progress.
    pub(super) fn wait_written(&self, offset: u64) -> Result<()> {
        let (mut moved_at, mut written) = (Instant::now(), 0);
        loop {
            let found = self.head()?.written_offset;
            if found >= offset {
                return Ok(());
            }
            if found > written {
                (moved_at, written) = (Instant::now(), found);
            }
            ensure_progress(moved_at)?;
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits until everything below `offset` is durable. Spins.
    ///
    /// # Errors
    /// When the journal has failed, or makes no progress.
    pub(super) fn wait_durable(&self, offset: u64) -> Result<()> {
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if self.publisher.durable_offset() >= offset {
                    return Ok(());
                }
                spin_loop();
            }
            self.head()?;
            ensure_progress(start)?;
        }
    }

    /// Which files the journal has, by their inodes.
    ///
    /// # Errors
    /// When its directory cannot be read.
    pub(super) fn inodes(&self) -> Result<BTreeSet<u64>> {
        let dir = self.dir.join("0");
        let read = || fs::read_dir(&dir)?.map(|entry| Ok(entry?.ino())).collect::<io::Result<_>>();
        read().with_context(|| format!("cannot read {}", dir.display()))
    }

    /// Removes the journal's old segments, so that it has to make new ones.
    ///
    /// # Errors
    /// When the directory cannot be read or changed.
    pub(super) fn discard(&self) -> Result<()> {
        let mut segments = segments(&self.dir)?;
        segments.truncate(segments.len().saturating_sub(SEGMENTS_IN_USE));
        segments.iter().try_for_each(|segment| {
            fs::remove_file(segment).with_context(|| format!("cannot remove {}", segment.display()))
        })
    }
}

fn ensure_progress(since: Instant) -> Result<()> {
    let patience_s = PATIENCE.as_secs();
    ensure!(since.elapsed() < PATIENCE, "the journal made no progress for {patience_s} s");
    Ok(())
}

/// The segments of the first partition in a journal's directory, in order.
///
/// # Errors
/// When it cannot be read.
pub(super) fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    let dir = dir.join("0");
    let read = || fs::read_dir(&dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    let mut paths: Vec<PathBuf> =
        read().with_context(|| format!("cannot read {}", dir.display()))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    paths.sort_unstable();
    Ok(paths)
}
