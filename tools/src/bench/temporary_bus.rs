//! The bus that is measured: made for one run, under a name that both processes know.
use std::os::unix::process::parent_id;
use std::path::PathBuf;
use std::process;

use anyhow::{Context, Result};
use tickcast::{Bus, Notice, NoticeKind, SlowSubscriber, Topic};

/// A payload of 48 bytes: with its header it takes one cache line.
pub(crate) type Words = [u64; 6];

/// The ring of every topic: as large as the bare stream's and `rtrb`'s.
const RING_BYTES: u64 = (super::stream::SLOTS * 64) as u64;
/// What the names of all such buses begin with; the parent's pid follows.
const NAME_PREFIX: &str = "bench-";

/// A bus for one run, removed when this is dropped.
pub(crate) struct TemporaryBus(Bus);

impl TemporaryBus {
    /// Makes it, and removes what runs that were killed have left.
    ///
    /// # Errors
    /// When shared memory is full or not writable.
    pub(crate) fn create() -> Result<Self> {
        remove_leftovers()?;
        let name = name_of(process::id());
        Ok(Self(Bus::create(&name).with_context(|| format!("cannot make the bus {name}"))?))
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn create_topic(&self, name: &str) -> Result<Topic> {
        self.create_topic_with(name, SlowSubscriber::Wait)
    }

    /// Makes a topic whose ring is of this size.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn create_topic_of(&self, name: &str, ring_bytes: u64) -> Result<Topic> {
        let topic = self.0.topic(name).ring_bytes(ring_bytes).create();
        topic.with_context(|| format!("cannot make the topic {name}"))
    }

    /// Makes a topic that treats slow subscribers as `slow` says.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn create_topic_with(&self, name: &str, slow: SlowSubscriber) -> Result<Topic> {
        let topic = self.0.topic(name).ring_bytes(RING_BYTES).slow_subscriber(slow).create();
        topic.with_context(|| format!("cannot make the topic {name}"))
    }
}

impl Drop for TemporaryBus {
    fn drop(&mut self) {
        // By force: on errors the child may still hold it.
        if let Err(error) = Bus::remove(self.0.name(), true) {
            eprintln!("cannot remove the bus {}: {error}", self.0.name());
        }
    }
}

/// Opens the bus of the parent process.
///
/// # Errors
/// When the parent is gone.
pub(crate) fn open_parents() -> Result<Bus> {
    let name = name_of(parent_id());
    Bus::open(&name).with_context(|| format!("cannot open the bus {name}; is its maker gone?"))
}

/// Passes over the news that a publisher came or went.
///
/// # Errors
/// Every other notice.
#[cold]
pub(crate) fn passed_over(notice: Notice) -> Result<()> {
    match notice.kind {
        NoticeKind::PublisherGone | NoticeKind::PublisherBack { .. } => Ok(()),
        _ => Err(notice.into()),
    }
}

/// The sum of a message's words.
#[inline(always)]
pub(crate) fn sum(words: &Words) -> u64 {
    words.iter().copied().fold(0, u64::wrapping_add)
}

fn name_of(pid: u32) -> String {
    format!("{NAME_PREFIX}{pid}")
}

fn remove_leftovers() -> Result<()> {
    for name in Bus::list().context("cannot list the buses")? {
        let pid = name.strip_prefix(NAME_PREFIX).and_then(|pid| pid.parse::<u32>().ok());
        let is_dead = |pid: u32| !PathBuf::from(format!("/proc/{pid}")).exists();
        if pid.is_some_and(is_dead) {
            // A child that outlives its parent by a moment holds it: the next run removes it.
            let _ = Bus::remove(&name, false);
        }
    }
    Ok(())
}
