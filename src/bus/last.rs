//! The last frame of some kind that was published to a partition: in its ring, or else in the files
//! of its journal. Who becomes a publisher learns from it where to go on.

use crate::bus::catch_up::journal_path;
use crate::bus::message::{Origin, OwnedMessage};
use crate::bus::publisher::Publisher;
use crate::bus::topic::Topic;
use crate::bus::topic_error::TopicError;
use crate::journal::JournalError;
use crate::journal::topic_dir::TopicDir;
use crate::journal::track::Track;
use crate::log::block::block_start;
use crate::log::last::{Found, last_in_ring};
use crate::log::pages;
use crate::log::reader::Frame;
use crate::log::seek;
use crate::shm::map::Access;
use crate::sync::Ordering;

/// Shows `see` the end of a partition's log, from further and further back until it says that a
/// frame is one that is looked for: the last such frame is the one that it was shown last.
///
/// The caller is the partition's publisher.
pub(crate) fn last_frame(
    topic: &Topic,
    partition: u32,
    mut see: impl FnMut(Frame<'_>) -> bool,
) -> Result<Found, TopicError> {
    let files = topic.files(partition)?;
    let ring = files.ring(Access::ReadOnly)?;
    let page = files.publisher_page(Access::ReadOnly)?;
    let reserved = page.load(pages::publisher::RESERVED, Ordering::Acquire);
    let base = seek::base(&page)?;
    let found = last_in_ring(&ring, base.position, reserved, &mut see)?;
    let Some(path) = journal_path(&files.journal_page(Access::ReadOnly)?) else { return Ok(found) };
    if found != Found::Unknown {
        return Ok(found);
    }
    let journal = |error| TopicError::Journal(Box::new(error));
    let dir = TopicDir::open(&path).map_err(journal)?;
    if dir.descriptor.log_id != topic.descriptor().log_id {
        return Ok(Found::Unknown);
    }
    // Where the ring begins, and the files have to reach to.
    let oldest = seek::newest(&ring, base.position, reserved)?
        .map(|newest| seek::earliest(&ring, block_start(newest + 1)).unwrap_or(newest));
    let header = oldest.and_then(|oldest| ring.header(oldest));
    let end_min = header.map_or(base.offset, |header| header.first_offset);
    let mut blocks = dir.blocks(partition).map_err(journal)?;
    Track::last(&mut blocks, topic.message_bytes_max(), end_min, &mut see)
        .map_err(|source| journal(JournalError::Io { path, partition, position: 0, source }))
}

impl Publisher {
    /// The message that was published last, by this publisher or one before it: what tells a
    /// publisher that starts anew with which of its input to go on, so that nothing is published
    /// twice. Also after the host was restarted, where the topic goes on from its
    /// [journal](crate::TopicBuilder::journal). `None` when there never was one.
    ///
    /// Looks for it in the ring, and then in the journal's files: not for the hot path.
    ///
    /// # Errors
    /// [`TopicError::NoLastMessage`] when neither has it any more, or the journal lacks something behind
    /// it, and so may lack the last one; or when the journal cannot be read.
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
        let (topic, partition) = (self.topic(), self.partition());
        let mut last = OwnedMessage {
            origin: Origin { topic: 0, partition },
            offset: 0,
            timestamp_ns: 0,
            payload: Vec::new(),
        };
        let found = last_frame(topic, partition, |frame| {
            let Frame::Message(message) = frame else { return false };
            (last.offset, last.timestamp_ns) = (message.offset, message.timestamp_ns);
            last.payload.clear();
            last.payload.extend_from_slice(message.payload);
            true
        })?;
        match found {
            Found::Behind(_) => Ok(Some(last)),
            Found::Never => Ok(None),
            Found::Unknown => {
                Err(TopicError::NoLastMessage { topic: topic.name().to_owned(), partition })
            }
        }
    }
}
