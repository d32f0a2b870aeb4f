//! The journal that is replayed: recorded once for all comparisons.
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};
use tickcast::{Event, Replay, SyncPolicy};

use super::far_core::Crew;
use super::format::{BLOCK_BYTES, Walked, block_messages};
use super::recording::{self, Old, Recording};
use super::{RING_BYTES, Setup};
use tickcast_harness::message::{Payload, message};
use tickcast_harness::{Options, with_words};

/// Blocks of log for each second that is measured, and at most.
const BLOCKS_PER_S: u64 = (64 << 20) / BLOCK_BYTES as u64;
const BLOCKS_MAX: u64 = (256 << 20) / BLOCK_BYTES as u64;

/// Messages between two looks whether the user wants an end.
const LOOK_EVERY: u64 = 1 << 20;

/// A journal that nobody writes to any more.
pub(super) struct Recorded {
    dir: PathBuf,
    /// Bytes of log, in whole blocks.
    pub(super) bytes: u64,
    pub(super) messages: u64,
    pub(super) payload: Payload,
    /// Messages a second, by their timestamps.
    pub(super) rate: u64,
}

impl Recorded {
    /// Records, and closes the journal.
    ///
    /// # Errors
    /// When shared memory or the disk is full.
    pub(super) fn record(setup: &Setup, options: &Options) -> Result<Self> {
        let (payload, rate) = (options.first_payload(), options.rate());
        let blocks = (options.seconds * BLOCKS_PER_S).clamp(BLOCKS_PER_S, BLOCKS_MAX);
        let block_messages = block_messages(payload.frame_bytes());
        let messages = blocks * block_messages;
        let Setup { bus, place, interrupt, .. } = setup;
        let (mut recording, journal) =
            Recording::begin(bus, place, "replayed", RING_BYTES, SyncPolicy::None, Old::Kept)?;
        let mut crew = Crew::default();
        let agent = crew.add(journal);
        let far = crew.start(setup.cores)?;
        far.beside(agent, || {
            for number in 0..messages {
                if number.is_multiple_of(LOOK_EVERY) {
                    interrupt.check()?;
                }
                let timestamp_ns = timestamp_ns(number, rate);
                with_words!(payload, W => {
                    recording.publisher.publish(timestamp_ns, &message::<W>(number))?
                });
            }
            // The last block may not be full: it is written when the journal is closed, below.
            recording.wait_written(messages - block_messages)
        })?;
        let dir = recording.dir().to_owned();
        Ok(Self { dir, bytes: blocks * BLOCK_BYTES as u64, messages, payload, rate })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The files, and the bytes of log in each.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let mut left = self.bytes;
        let mut files = Vec::new();
        for path in recording::segments(&self.dir)? {
            let metadata = fs::metadata(&path);
            let metadata = metadata.with_context(|| format!("cannot read {}", path.display()))?;
            let bytes = metadata.len().min(left);
            left -= bytes;
            if bytes > 0 {
                files.push((path, bytes));
            }
        }
        Ok(files)
    }

    /// When a message was published, by its timestamp.
    pub(super) fn timestamp_ns(&self, number: u64) -> u64 {
        timestamp_ns(number, self.rate)
    }

    /// Takes the files out of the page cache.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub(super) fn cool(&self) -> Result<()> {
        for (path, _) in self.files()? {
            // What is not on disk yet would stay.
            let cool = |file: File| {
                file.sync_all()?;
                Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
            };
            File::open(&path)
                .and_then(cool)
                .with_context(|| format!("cannot drop {} from the page cache", path.display()))?;
        }
        Ok(())
    }

    /// Replays all of it as fast as possible, and looks at a word of each message.
    ///
    /// # Errors
    /// When it cannot be read, or not all of it is there.
    pub(super) fn replay(&self) -> Result<Walked> {
        let mut walked = Walked::default();
        Replay::open(&self.dir)?.run(|event| {
            if let Event::Message(message) = event
                && let Some(word) = message.payload.first_chunk()
            {
                walked.sum = walked.sum.wrapping_add(u64::from_le_bytes(*word));
                walked.messages += 1;
            }
        })?;
        self.check(walked)?;
        Ok(walked)
    }

    /// # Errors
    /// When a walk has found something else than was recorded.
    pub(super) fn check(&self, walked: Walked) -> Result<()> {
        let messages = self.messages;
        let recorded = Walked { messages, sum: messages * (messages - 1) / 2 };
        ensure!(walked == recorded, "the journal has {walked:?}, recorded was {recorded:?}");
        Ok(())
    }
}

fn timestamp_ns(number: u64, rate: u64) -> u64 {
    number * 1_000_000_000 / rate
}
