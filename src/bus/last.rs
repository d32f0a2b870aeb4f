//! The last frame of some kind that was published to a partition: in its ring, or else in the files of
//! its journal. Who becomes a publisher learns from it where to go on.

use crate::bus::catch_up::journal_path;
use crate::bus::message::{Origin, OwnedMessage};
use crate::bus::publisher::Publisher;
use crate::bus::topic::Topic;
use crate::bus::topic_error::TopicError;
use crate::journal::JournalError;
use crate::journal::topic_dir::TopicDir;
use crate::journal::track::Track;
use crate::log::last::last_in_ring;
use crate::log::pages;
use crate::log::reader::Frame;
use crate::log::seek;
use crate::shm::map::Access;
use crate::sync::Ordering;

/// Shows `see` the end of a partition's log, from further and further back until it says that a frame
/// is one that is looked for. Returns the offset that comes behind the last such frame, which `see` was
/// shown last of them.
///
/// The caller is the partition's publisher.
pub(crate) fn last_frame(
    topic: &Topic,
    partition: u32,
    mut see: impl FnMut(Frame<'_>) -> bool,
) -> Result<Option<u64>, TopicError> {
    let files = topic.files(partition)?;
    let ring = files.ring(Access::ReadOnly)?;
    let page = files.publisher_page(Access::ReadOnly)?;
    let reserved = page.load(pages::publisher::RESERVED, Ordering::Acquire);
    let base = seek::base(&page)?.position;
    if let Some(behind) = last_in_ring(&ring, base, reserved, &mut see)? {
        return Ok(Some(behind));
    }
    let Some(path) = journal_path(&files.journal_page(Access::ReadOnly)?) else { return Ok(None) };
    let journal = |error| TopicError::Journal(Box::new(error));
    let dir = TopicDir::open(&path).map_err(journal)?;
    if dir.descriptor.log_id != topic.descriptor().log_id {
        return Ok(None);
    }
    let mut blocks = dir.blocks(partition).map_err(journal)?;
    Track::last(&mut blocks, topic.message_bytes_max(), &mut see)
        .map_err(|source| journal(JournalError::Io { path, partition, position: 0, source }))
}

impl Publisher {
    /// The message that was published last, by this publisher or one before it: what tells a publisher
    /// that starts anew with which of its input to go on, so that nothing is published twice. Also
    /// after the host was restarted, where the topic goes on from its
    /// [journal](crate::TopicBuilder::journal). `None` when there never was one.
    ///
    /// Looks for it in the ring, and then in the journal's files: not for the hot path.
    ///
    /// # Errors
    /// [`TopicError::NoLastMessage`] when neither has it any more, or the journal cannot be read.
    ///
    /// # Examples
    /// ```no_run
    /// # let feed: Vec<u64> = Vec::new();
    /// use tickcast::Bus;
    ///
    /// let bus = Bus::open_or_create("md")?;
    /// let trades = bus.topic("trades").journal("/var/lib/md").open_or_create()?;
    /// let mut publisher = trades.publisher(0)?;
    /// // Each message carries the sequence number that its input has.
    /// let next = publisher.last_message()?.map_or(Ok(0), |last| last.read::<u64>().map(|n| n + 1))?;
    /// for sequence in feed.into_iter().skip_while(|sequence| *sequence < next) {
    ///     publisher.publish(0, &sequence)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn last_message(&self) -> Result<Option<OwnedMessage>, TopicError> {
        if self.next_offset() == 0 {
            return Ok(None);
        }
        let (topic, partition) = (self.topic(), self.partition());
        let mut last = OwnedMessage {
            origin: Origin { topic: 0, partition },
            offset: 0,
            timestamp_ns: 0,
            payload: Vec::new(),
        };
        let behind = last_frame(topic, partition, |frame| {
            let Frame::Message(message) = frame else { return false };
            (last.offset, last.timestamp_ns) = (message.offset, message.timestamp_ns);
            last.payload.clear();
            last.payload.extend_from_slice(message.payload);
            true
        })?;
        if behind.is_none() {
            return Err(TopicError::NoLastMessage { topic: topic.name().to_owned(), partition });
        }
        Ok(Some(last))
    }
}
