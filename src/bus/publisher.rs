//! The publisher: the one writer of a partition.

use std::time::Duration;

use zerocopy::{Immutable, IntoBytes};

use crate::bus::claim::Claim;
use crate::bus::descriptor::WakeUp;
use crate::bus::durable::{DurableError, durable_offset, is_durable};
use crate::bus::hindrance::Hindrance;
use crate::bus::message::LossCause;
use crate::bus::publish_error::{PublishError, PublisherError};
use crate::bus::topic::Topic;
use crate::bus::topic_error::TopicError;
use crate::bus::waiting::Waiting;
use crate::log::frame::{GAP_OFFSET_MAX, flags};
use crate::log::gate::{Blocked, Gate};
use crate::log::pages::{self, Pages};
use crate::log::takeover::take_over;
use crate::log::wake::Wake;
use crate::log::writer::{FRAME_PAYLOAD_BYTES_MAX, Writer};
use crate::runtime::{IdleStrategy, inside_agent};
use crate::shm::futex::membarrier;
use crate::shm::lock::Lock;
use crate::shm::map::Access;
use crate::sync::Ordering;

/// The writing end of one partition.
///
/// Publishing copies the payload into the ring and stores one word: no lock, no fence, no system
/// call, no allocation. Once a block (64 KiB) it looks for the subscribers that it has to wait for.
/// (With [`WakeUp::Prompt`] there is a system call for each time that a subscriber is woken.)
///
/// What is published can be read at once; there is nothing to flush. Without reliable subscribers
/// it never waits, and overwrites what nobody has read.
///
/// Dropping it lets the next publisher go on; subscribers are told. It is the process's that opened
/// it: a forked child does not have its memory, must not use it, and may drop it.
#[derive(Debug)]
pub struct Publisher {
    writer: Writer,
    hindrance: Hindrance,
    topic: Topic,
    partition: u32,
    /// Held for as long as this lives.
    _lock: Lock,
}

impl Publisher {
    pub(crate) fn open(topic: &Topic, partition: u32) -> Result<Publisher, PublisherError> {
        let files = topic.files(partition)?;
        let lock = Lock::try_exclusive(|| files.publisher_file(true), 0..1);
        let page = files.publisher_page(Access::ReadWrite)?;
        let Some(lock) = lock.map_err(TopicError::from)? else {
            // The first publisher ever may hold the lock and not have said who it is.
            let read = || page.load(pages::publisher::PID, Ordering::Relaxed);
            let pid = (0..1000).map(|_| read()).find(|pid| *pid != 0).unwrap_or(0);
            return Err(PublisherError::Busy { topic: topic.name().to_owned(), partition, pid });
        };
        page.store(pages::publisher::PID, u64::from(std::process::id()), Ordering::Relaxed);
        let control = files.control_page(Access::ReadWrite)?;
        // Before the first commit: only then may sleepers rely on the barrier.
        let wake = (topic.wake_up() == WakeUp::Prompt).then(|| Wake::new(control.clone()));
        let barrier = wake.is_some() && membarrier::register();
        page.store(pages::publisher::BARRIER, u64::from(barrier), Ordering::Release);

        let ring = files.ring(Access::ReadWrite)?;
        let cursors = files.cursors()?;
        let reserved = page.load(pages::publisher::RESERVED, Ordering::Acquire);
        let journal = files.journal_page(Access::ReadOnly)?;
        let pages = Pages { publisher: page, control: control.clone(), journal };
        let gate = Gate::new(pages, cursors.clone(), ring.bytes_len(), reserved);
        let cursors_file = files.cursors_file(false).map_err(TopicError::from)?;
        let hindrance = Hindrance::new(control, cursors, cursors_file, topic.slow_subscriber());
        if hindrance.is_closed() {
            return Err(PublisherError::Closed);
        }
        let log_id = topic.descriptor().partition_log_id(partition);
        let writer = take_over(ring, gate, wake, log_id).map_err(TopicError::from)?;
        Ok(Publisher { writer, hindrance, topic: topic.clone(), partition, _lock: lock })
    }

    /// Publishes one message: bytes, or any `zerocopy` type. Returns its offset, or says who is in
    /// the way.
    ///
    /// `timestamp_ns` is handed on as it is: the time of whatever the message tells of, in
    /// nanoseconds since the Unix epoch. A subscriber in order of timestamps expects that they do
    /// not go back.
    ///
    /// A payload of up to 48 bytes takes one cache line; one above 65,392 is fragmented. Where the
    /// length is known at compile time, copying it costs next to nothing.
    ///
    /// # Errors
    /// [`PublishError::Full`]: a reliable subscriber still needs what would be overwritten.
    /// Under [`SlowSubscriber::EvictAfter`](crate::SlowSubscriber::EvictAfter) calls after the
    /// deadline go on without it.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// # let mut publisher = topic.publisher(0)?;
    /// use tickcast::{PublishError, runtime::clock};
    /// use zerocopy::{Immutable, IntoBytes};
    ///
    /// #[derive(IntoBytes, Immutable)]
    /// #[repr(C)]
    /// struct Trade {
    ///     price: i64,
    ///     quantity: u64,
    /// }
    ///
    /// match publisher.try_publish(clock::now_ns(), &Trade { price: 481_025, quantity: 3 }) {
    ///     Ok(offset) => println!("published {offset}"),
    ///     Err(PublishError::Full(full)) => println!("{full}"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn try_publish<T>(&mut self, timestamp_ns: u64, payload: &T) -> Result<u64, PublishError>
    where
        T: IntoBytes + Immutable + ?Sized,
    {
        match self.writer.publish_here(timestamp_ns, payload) {
            Some(offset) => Ok(offset),
            None => self.try_publish_slow(timestamp_ns, payload.as_bytes()),
        }
    }

    /// Once a block, and for what is long.
    #[cold]
    #[inline(never)]
    fn try_publish_slow(&mut self, timestamp_ns: u64, bytes: &[u8]) -> Result<u64, PublishError> {
        self.check(bytes.len() as u64)?;
        loop {
            match self.writer.try_publish(timestamp_ns, bytes) {
                Ok(offset) => return Ok(offset),
                Err(blocked) => self.lift(blocked)?,
            }
        }
    }

    /// Publishes one message, and waits for slow reliable subscribers as the topic's policy says.
    ///
    /// # Errors
    /// [`PublishError::TooLong`], [`PublishError::Closed`];
    /// [`PublishError::InsideAgent`] instead of waiting inside an agent's `poll`.
    #[inline(always)]
    pub fn publish<T>(&mut self, timestamp_ns: u64, payload: &T) -> Result<u64, PublishError>
    where
        T: IntoBytes + Immutable + ?Sized,
    {
        match self.writer.publish_here(timestamp_ns, payload) {
            Some(offset) => Ok(offset),
            None => self.publish_slow(timestamp_ns, payload.as_bytes()),
        }
    }

    /// Once a block, and for what is long.
    #[cold]
    #[inline(never)]
    fn publish_slow(&mut self, timestamp_ns: u64, bytes: &[u8]) -> Result<u64, PublishError> {
        match self.try_publish_slow(timestamp_ns, bytes) {
            Ok(offset) => Ok(offset),
            Err(error) => {
                self.wait(error, |publisher| publisher.try_publish_slow(timestamp_ns, bytes))
            }
        }
    }

    /// Publishes one message that a journal had, flagged as such, and waits as
    /// [`Publisher::publish`] does.
    pub(crate) fn publish_replayed(
        &mut self,
        timestamp_ns: u64,
        bytes: &[u8],
    ) -> Result<u64, PublishError> {
        let publish = |publisher: &mut Publisher| {
            publisher.check(bytes.len() as u64)?;
            loop {
                let writer = &mut publisher.writer;
                match writer.try_publish_flagged(timestamp_ns, bytes, flags::REPLAYED) {
                    Ok(offset) => return Ok(offset),
                    Err(blocked) => publisher.lift(blocked)?,
                }
            }
        };
        publish(self).or_else(|error| self.wait(error, publish))
    }

    /// Publishes the first messages of a batch of (timestamp, payload), as many as fit into the
    /// block; they become visible together. Returns how many those are, at least one of a batch
    /// that is not empty.
    ///
    /// # Errors
    /// As [`Publisher::try_publish`], when not even the first could be published.
    pub fn try_publish_batch<T>(&mut self, batch: &[(u64, &T)]) -> Result<usize, PublishError>
    where
        T: IntoBytes + Immutable + ?Sized,
    {
        if let Some((_, first)) = batch.first()
            && !self.writer.has_room(size_of_val(*first) as u64)
        {
            self.check(size_of_val(*first) as u64)?;
        }
        loop {
            match self.writer.try_publish_batch(batch) {
                Ok(count) => return Ok(count),
                Err(blocked) => self.lift(blocked)?,
            }
        }
    }

    /// Publishes a batch of (timestamp, payload) and waits as [`Publisher::publish`] does. Returns
    /// the first message's offset; the others follow it.
    ///
    /// # Errors
    /// As [`Publisher::publish`]. A message that is too long fails the batch before any of it is
    /// published; [`Publisher::next_offset`] tells how much was when the bus is closed under it.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// # let mut publisher = topic.publisher(0)?;
    /// let now = tickcast::runtime::clock::now_ns();
    /// let packet: [&[u8]; 3] = [b"one", b"two", b"three"];
    /// publisher.publish_batch(&packet.map(|message| (now, message)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_batch<T>(&mut self, batch: &[(u64, &T)]) -> Result<u64, PublishError>
    where
        T: IntoBytes + Immutable + ?Sized,
    {
        let longest_bytes = batch.iter().map(|(_, payload)| size_of_val(*payload)).max();
        if let Some(length_bytes) = longest_bytes.map(|bytes| bytes as u64)
            && length_bytes > self.writer.message_bytes_max()
        {
            let max_bytes = self.writer.message_bytes_max();
            return Err(PublishError::TooLong { length_bytes, max_bytes });
        }
        let first = self.next_offset();
        let mut rest = batch;
        while !rest.is_empty() {
            let count = match self.try_publish_batch(rest) {
                Ok(count) => count,
                Err(error) => self.wait(error, |publisher| publisher.try_publish_batch(rest))?,
            };
            rest = &rest[count..];
        }
        Ok(first)
    }

    /// Makes room for a message of `length` bytes, at most 65,392, that is filled in place.
    ///
    /// # Errors
    /// As [`Publisher::try_publish`].
    pub fn try_claim(&mut self, length: usize) -> Result<Claim<'_>, PublishError> {
        let length = length as u64;
        if length > FRAME_PAYLOAD_BYTES_MAX {
            let max_bytes = FRAME_PAYLOAD_BYTES_MAX;
            return Err(PublishError::TooLong { length_bytes: length, max_bytes });
        }
        if !self.writer.has_room(length) {
            self.check(length)?;
        }
        while let Err(blocked) = self.writer.try_claim(length) {
            self.lift(blocked)?;
        }
        Ok(Claim::new(&mut self.writer, length))
    }

    /// As [`Publisher::try_claim`], and waits as [`Publisher::publish`] does.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn claim(&mut self, length: usize) -> Result<Claim<'_>, PublishError> {
        if let Err(error) = self.try_claim(length).map(drop) {
            self.wait(error, |publisher| publisher.try_claim(length).map(drop))?;
        }
        Ok(Claim::new(&mut self.writer, length as u64))
    }

    /// Says that no message will come for the offsets from [`Publisher::next_offset`] to `to`, both
    /// included: subscribers get [`NoticeKind::Lost`](crate::NoticeKind::Lost) with `cause`, and
    /// the next message gets offset `to + 1`.
    ///
    /// # Errors
    /// As [`Publisher::try_publish`]; [`PublishError::BadGap`] when `to` is below the next offset,
    /// or 2^62 or more.
    pub fn try_publish_gap(
        &mut self,
        timestamp_ns: u64,
        to: u64,
        cause: LossCause,
    ) -> Result<(), PublishError> {
        let next = self.next_offset();
        if to < next || to >= GAP_OFFSET_MAX {
            return Err(PublishError::BadGap { next, to });
        }
        self.check(0)?;
        while let Err(blocked) = self.writer.try_publish_gap(timestamp_ns, to, cause.code()) {
            self.lift(blocked)?;
        }
        Ok(())
    }

    /// As [`Publisher::try_publish_gap`], and waits as [`Publisher::publish`] does.
    ///
    /// # Errors
    /// As [`Publisher::publish`], and [`PublishError::BadGap`].
    pub fn publish_gap(
        &mut self,
        timestamp_ns: u64,
        to: u64,
        cause: LossCause,
    ) -> Result<(), PublishError> {
        match self.try_publish_gap(timestamp_ns, to, cause) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.wait(error, |publisher| publisher.try_publish_gap(timestamp_ns, to, cause))
            }
        }
    }

    /// Writes a control frame.
    pub(crate) fn try_publish_control(
        &mut self,
        timestamp_ns: u64,
        payload: &[u8],
    ) -> Result<(), PublishError> {
        self.check(payload.len() as u64)?;
        while let Err(blocked) = self.writer.try_publish_control(timestamp_ns, payload) {
            self.lift(blocked)?;
        }
        Ok(())
    }

    /// Offset of the first message that is not known to be on disk: every one below it is, as far
    /// as the partition's journal has them. One load from shared memory.
    pub fn durable_offset(&self) -> u64 {
        durable_offset(&self.writer.pages().journal)
    }

    /// Waits until message `offset` is on disk; `timeout`: `None` waits for as long as it takes.
    /// Sleeps of up to 1 ms are part of it.
    ///
    /// # Errors
    /// [`DurableError`].
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("orders")?;
    /// # let mut publisher = topic.publisher(0)?;
    /// use std::time::Duration;
    ///
    /// let offset = publisher.publish(tickcast::runtime::clock::now_ns(), b"an order")?;
    /// publisher.wait_durable(offset, Some(Duration::from_secs(1)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_durable(&self, offset: u64, timeout: Option<Duration>) -> Result<(), DurableError> {
        let pages = self.writer.pages();
        let mut waiting = Waiting::new(IdleStrategy::back_off(), timeout);
        while !is_durable(pages, offset)? {
            if inside_agent() {
                return Err(DurableError::InsideAgent);
            }
            let durable_offset = durable_offset(&pages.journal);
            match waiting.step() {
                Some(step) => step.run(),
                None => return Err(DurableError::Timeout { offset, durable_offset }),
            }
        }
        Ok(())
    }

    /// Offset that the next message gets.
    pub fn next_offset(&self) -> u64 {
        self.writer.offset()
    }

    /// How many publishers the partition has had, this one included.
    pub fn epoch(&self) -> u64 {
        self.writer.epoch()
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Once a block, and for what is long: everything that need not be looked at for each message.
    #[cold]
    fn check(&self, length_bytes: u64) -> Result<(), PublishError> {
        let max_bytes = self.writer.message_bytes_max();
        if length_bytes > max_bytes {
            return Err(PublishError::TooLong { length_bytes, max_bytes });
        }
        if self.hindrance.is_closed() {
            return Err(PublishError::Closed);
        }
        Ok(())
    }

    /// Gets a subscriber out of the way, or says that it stays there.
    #[cold]
    fn lift(&mut self, blocked: Blocked) -> Result<(), PublishError> {
        if self.hindrance.is_closed() {
            return Err(PublishError::Closed);
        }
        if self.hindrance.lift(self.writer.gate(), blocked) {
            return Ok(());
        }
        Err(PublishError::Full(self.hindrance.describe(self.writer.gate(), blocked)))
    }

    /// Tries again until it works; `error` is what the first try gave.
    #[cold]
    fn wait<R>(
        &mut self,
        error: PublishError,
        mut again: impl FnMut(&mut Publisher) -> Result<R, PublishError>,
    ) -> Result<R, PublishError> {
        let mut waiting = Waiting::new(IdleStrategy::back_off(), None);
        let mut error = error;
        loop {
            match error {
                PublishError::Full(full) if inside_agent() => {
                    return Err(PublishError::InsideAgent(full));
                }
                PublishError::Full(_) => {}
                error => return Err(error),
            }
            if let Some(step) = waiting.step() {
                step.run();
            }
            error = match again(self) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
        }
    }
}
