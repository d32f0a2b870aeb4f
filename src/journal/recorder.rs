//! What a program holds to journal a topic: settings, and the agent that writes.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bus::partition::PartitionFiles;
use crate::bus::{Topic, TopicError};
use crate::journal::disk::FileDisk;
use crate::journal::error::JournalError;
use crate::journal::retention::{Keep, Retention};
use crate::journal::start::start;
use crate::journal::status::{JournalState, Status};
use crate::journal::tap::Tap;
use crate::journal::topic_dir::TopicDir;
use crate::journal::writer::{Fault, SyncPolicy, Writer};
use crate::log::memory::Memory;
use crate::log::pages::{self, Pages};
use crate::runtime::Agent;
use crate::shm::lock::Lock;
use crate::shm::map::Access;
use crate::sync::Ordering;

/// How long closing waits for a disk that takes nothing.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// How long after a failure a journal is begun again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Settings for journaling a topic: by default every partition, never flushed but at the end of a
/// segment, in segments of 64 MiB, and waited for by the publisher for ever.
#[derive(Debug, Clone)]
#[must_use = "settings journal nothing until they are opened"]
pub struct JournalBuilder {
    topic: Topic,
    dir: PathBuf,
    partition: Option<u32>,
    sync: SyncPolicy,
    segment_bytes: Option<u64>,
    give_up_after: Option<Duration>,
    keep: Keep,
    ignores_cursors: bool,
}

impl JournalBuilder {
    pub(crate) fn new(topic: Topic, dir: PathBuf) -> JournalBuilder {
        JournalBuilder {
            topic,
            dir,
            partition: None,
            sync: SyncPolicy::default(),
            segment_bytes: None,
            give_up_after: None,
            keep: Keep::default(),
            ignores_cursors: false,
        }
    }

    /// Only this partition: a journal for each, on a core of its own, writes more than one for all.
    pub fn partition(mut self, partition: u32) -> JournalBuilder {
        self.partition = Some(partition);
        self
    }

    /// When what was published is made durable.
    pub fn sync(mut self, sync: SyncPolicy) -> JournalBuilder {
        self.sync = sync;
        self
    }

    /// Size of a segment: a power of two from 256 KiB to 64 GiB. Two are allocated at least for
    /// each partition. A journal that is there keeps its own.
    pub fn segment_bytes(mut self, segment_bytes: u64) -> JournalBuilder {
        self.segment_bytes = Some(segment_bytes);
        self
    }

    /// After so long in its way the publisher goes on without the journal, also when that was
    /// killed; after no time at all with [`Duration::ZERO`]. Unless it is set the publisher waits,
    /// for a successor if need be: nothing is lost.
    ///
    /// A journal that finds itself left behind goes on with the oldest message that the ring still
    /// holds, in a segment of its own. What is missing is counted in
    /// [`JournalStat::lost`](crate::JournalStat::lost), whoever reads the journal is told, and
    /// [`Publisher::wait_durable`](crate::Publisher::wait_durable) says of none of it that it is on
    /// disk.
    pub fn give_up_after(mut self, after: Duration) -> JournalBuilder {
        self.give_up_after = Some(after);
        self
    }

    /// Keeps at least so many of the newest bytes of each partition's log, and removes older
    /// segments. Beside them there are the segment that is written to, one that is made ready, and
    /// up to two to be used again. Unless this or [`keep_for`](JournalBuilder::keep_for) is set
    /// everything is kept.
    ///
    /// It is looked at when a segment is full. What is not durable and what a named
    /// [cursor](crate::SubscriberBuilder::cursor) needs is not removed.
    pub fn keep_bytes(mut self, bytes: u64) -> JournalBuilder {
        self.keep.bytes = Some(bytes);
        self
    }

    /// Keeps messages for so long, by their timestamps and the time of day: a segment is removed
    /// once the newest message in it, and in all before, is older. Otherwise as
    /// [`keep_bytes`](JournalBuilder::keep_bytes); where both are set a segment goes when either
    /// lets it go.
    pub fn keep_for(mut self, age: Duration) -> JournalBuilder {
        self.keep.age = Some(age);
        self
    }

    /// Removes also what named cursors need: their subscribers are told of the loss.
    pub fn ignoring_cursors(mut self) -> JournalBuilder {
        self.ignores_cursors = true;
        self
    }

    /// Begins the journal with the oldest message that the ring holds, or goes on with the one that
    /// is there. From now on the publisher waits for what is not written.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(self) -> Result<Journal, JournalError> {
        let topic = &self.topic;
        let descriptor = topic.descriptor();
        let dir =
            TopicDir::open_or_create(&self.dir, topic.name(), descriptor, self.segment_bytes)?;
        let (first, count) = match self.partition {
            Some(partition) => (partition, 1),
            None => (0, topic.partitions()),
        };
        let parts = (first..first + count).map(|partition| self.open_part(&dir, partition));
        let parts = parts.collect::<Result<_, _>>()?;
        Ok(Journal {
            name: format!("journal of {}/{}", topic.bus().name(), topic.name()),
            parts,
            dir,
            settings: self,
            began: Instant::now(),
        })
    }

    fn open_part(&self, dir: &TopicDir, partition: u32) -> Result<Part, JournalError> {
        let topic = &self.topic;
        let files = topic.files(partition)?;
        let page = files.journal_page(Access::ReadWrite)?;
        let lock = Lock::try_exclusive(|| files.journal_file(true), 0..1)?;
        let lock = lock.ok_or_else(|| JournalError::Busy {
            topic: topic.name().to_owned(),
            partition,
            pid: page.load(pages::cursor::PID, Ordering::Relaxed),
        })?;
        let status = Status::new(page);
        status.set_state(JournalState::Running);
        status.set_give_up_after(self.give_up_after);
        status.set_path(dir.path());
        let writer = Some(self.begin(dir, partition)?);
        let again_at = Duration::ZERO;
        Ok(Part { writer, again_at, partition, status, failure: None, _lock: lock })
    }

    fn pages(files: &PartitionFiles<'_>) -> Result<Pages, TopicError> {
        Ok(Pages {
            publisher: files.publisher_page(Access::ReadOnly)?,
            control: files.control_page(Access::ReadWrite)?,
            journal: files.journal_page(Access::ReadWrite)?,
        })
    }

    /// Lets the publisher go on without the journal that was written here. The caller holds its
    /// lock.
    fn let_go(&self, partition: u32) -> Result<(), JournalError> {
        let pages = Self::pages(&self.topic.files(partition)?)?;
        Tap::let_go(&pages, self.topic.ring_bytes());
        Ok(())
    }

    /// Begins the journal of a partition, or goes on with it. The caller holds its lock.
    fn begin(&self, dir: &TopicDir, partition: u32) -> Result<Writer<FileDisk>, JournalError> {
        let files = self.topic.files(partition)?;
        let pages = Self::pages(&files)?;
        let ring = files.ring(Access::ReadOnly)?;
        let log_id = self.topic.descriptor().partition_log_id(partition);
        let mut disk = dir.disk(partition)?;
        self.retain(&mut disk, dir, partition, pages.journal.clone())?;
        let (writer, cut) = start(disk, ring, &pages, log_id, self.sync)
            .map_err(|error| JournalError::from_start(error, dir.path().to_owned(), partition))?;
        if let Some(cut) = cut {
            log::warn!("{}, partition {partition}: {cut}", dir.path().display());
        }
        Ok(writer)
    }

    /// Has segments removed that need not be kept, whenever another one is made.
    fn retain(
        &self,
        disk: &mut FileDisk,
        dir: &TopicDir,
        partition: u32,
        page: Memory,
    ) -> Result<(), JournalError> {
        if self.keep.is_all() {
            return Ok(());
        }
        let topic = TopicDir::open(dir.path())?;
        let (keep, ignores_cursors) = (self.keep, self.ignores_cursors);
        let retention = Retention { topic, partition, keep, ignores_cursors };
        disk.before_making(move || {
            match retention.apply(|_| Ok(page.load(pages::journal::TOLD, Ordering::Acquire))) {
                Ok(pruned) => {
                    if let Some(name) = pruned.held_by {
                        log::info!("partition {partition}: cursor {name} keeps old segments");
                    }
                }
                Err(error) => log::error!("partition {partition}: nothing is removed: {error}"),
            }
        });
        Ok(())
    }
}

/// Journals a topic: an [`Agent`] for a core of its own, which writes the ring's pages to files.
///
/// Dropped without [`close`](Agent::close), it leaves what a killed one leaves: the publisher waits
/// for a successor.
pub struct Journal {
    name: String,
    parts: Vec<Part>,
    dir: TopicDir,
    settings: JournalBuilder,
    began: Instant,
}

/// One partition.
struct Part {
    /// `None` once it cannot go on, for now or at all.
    writer: Option<Writer<FileDisk>>,
    /// When it is begun again.
    again_at: Duration,
    partition: u32,
    status: Status,
    failure: Option<String>,
    /// Held for as long as this lives.
    _lock: Lock,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("dir", &self.dir.path()).finish_non_exhaustive()
    }
}

impl Journal {
    /// The directory of the topic's journal: what a replay is given.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Why partitions are journaled no more, with their numbers.
    pub fn failures(&self) -> impl Iterator<Item = (u32, &str)> {
        self.parts.iter().filter_map(|part| Some((part.partition, part.failure.as_deref()?)))
    }
}

impl Agent for Journal {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll(&mut self) -> usize {
        let Journal { parts, dir, settings, began, .. } = self;
        let now = began.elapsed();
        parts.iter_mut().map(|part| part.poll(now, settings, dir)).sum()
    }

    /// Writes everything that was published, makes it durable, and lets the publisher go on without
    /// a journal: also where that cannot be done any more.
    fn close(&mut self) {
        let Journal { parts, dir, settings, began, .. } = self;
        for part in parts {
            part.close(*began, settings, dir);
        }
    }
}

impl Part {
    fn poll(&mut self, now: Duration, settings: &JournalBuilder, dir: &TopicDir) -> usize {
        let Some(writer) = &mut self.writer else { return self.go_on(now, settings, dir) };
        writer.poll(now).unwrap_or_else(|fault| {
            self.stop(&fault, now);
            0
        })
    }

    /// Stops writing: where that can help, to begin again.
    fn stop(&mut self, fault: &Fault, now: Duration) {
        self.writer = None;
        let partition = self.partition;
        match fault {
            Fault::Evicted => {
                log::error!("partition {partition}: {fault}; it goes on with what the ring holds");
                self.status.set_state(JournalState::Failing);
                self.again_at = now;
            }
            Fault::Flush(_) => {
                log::error!("partition {partition}: {fault}; it is begun again");
                self.status.set_state(JournalState::Failing);
                self.again_at = now + AGAIN_AFTER;
            }
            Fault::Damaged(_) => self.fail(fault),
        }
    }

    fn fail(&mut self, reason: &dyn fmt::Display) {
        log::error!("partition {} is journaled no more: {reason}", self.partition);
        self.status.set_state(JournalState::Failed);
        self.failure = Some(reason.to_string());
    }

    /// Begins again, when it is time: reads, and may write, the last segment. Returns whether it
    /// did.
    fn go_on(&mut self, now: Duration, settings: &JournalBuilder, dir: &TopicDir) -> usize {
        if self.failure.is_some() || now < self.again_at {
            return 0;
        }
        match settings.begin(dir, self.partition) {
            Ok(writer) => {
                self.writer = Some(writer);
                return 1;
            }
            Err(error) if error.may_pass() => {
                log::error!("partition {} is not journaled for now: {error}", self.partition);
                self.status.set_state(JournalState::Failing);
                self.again_at = now + AGAIN_AFTER;
            }
            Err(error) => self.fail(&error),
        }
        0
    }

    fn close(&mut self, began: Instant, settings: &JournalBuilder, dir: &TopicDir) {
        // What is only to be tried again some time later is tried now.
        self.again_at = Duration::ZERO;
        let mut moved_at = Instant::now();
        let writer = loop {
            // The first look finds what was published since the last.
            if self.poll(began.elapsed(), settings, dir) > 0 {
                moved_at = Instant::now();
            }
            let is_late = moved_at.elapsed() > CLOSE_PATIENCE;
            match &mut self.writer {
                None if self.failure.is_some() || is_late => {
                    if let Err(error) = settings.let_go(self.partition) {
                        log::error!(
                            "partition {}: its publisher may wait: {error}",
                            self.partition
                        );
                    }
                    return;
                }
                Some(writer) if writer.is_settled() => break writer,
                Some(writer) if is_late => {
                    log::error!(
                        "partition {}: the disk takes nothing: closed all the same",
                        self.partition
                    );
                    break writer;
                }
                Some(writer) => writer.settle(),
                None => {}
            }
            std::thread::yield_now();
        };
        writer.leave();
        self.status.set_state(JournalState::Closed);
    }
}
