//! Settings for a subscriber, and opening it.

use std::time::Duration;

use thiserror::Error;

use crate::bus::catch_up::CatchUp;
use crate::bus::channel::{Channel, Ends};
use crate::bus::cursors::Cursors;
use crate::bus::descriptor::{SlowSubscriber, WakeUp};
use crate::bus::liveness::Liveness;
use crate::bus::message::Origin;
use crate::bus::partition::PartitionFiles;
use crate::bus::subscriber::Subscriber;
use crate::bus::topic::Topic;
use crate::bus::topic_error::TopicError;
use crate::journal::CursorError;
use crate::log::lane::{Lane, StartAt, StartError, Wanted};
use crate::log::pages;
use crate::log::seat::Seat;
use crate::runtime::IdleStrategy;
use crate::shm::error::FileError;
use crate::shm::lock::Lock;
use crate::shm::map::Access;
use crate::sync::Ordering;

/// How a subscriber relates to the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The publisher does not know of it and never waits for it. It may be overrun, and is then
    /// told exactly what it lost. Needs read permission only.
    #[default]
    Lossy,
    /// The publisher waits for it, or evicts it, as the topic's policy says, from the moment at
    /// which it is open until it is dropped or dies. Needs write permission.
    Reliable,
}

/// In which order a subscriber of several partitions hands out messages. Within a partition it is
/// always that of the offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As they come.
    #[default]
    Arrival,
    /// By timestamp. As long as some partition has nothing (also one that has no publisher), a
    /// message is held back for `hold`; one that comes later than that is handed out at once and
    /// counted as late.
    Timestamp {
        /// How long a message is held back; at most a sixteenth of it longer.
        hold: Duration,
    },
}

/// A topic, or one partition of it.
#[derive(Debug, Clone)]
struct Part {
    topic: Topic,
    partition: Option<u32>,
    /// Where it starts, if elsewhere than the rest.
    start_at: Option<StartAt>,
}

/// Settings for a subscriber: by default lossy, live, of all partitions, in order of arrival.
#[derive(Debug, Clone)]
#[must_use = "settings subscribe to nothing until they are opened"]
pub struct SubscriberBuilder {
    /// At least one.
    parts: Vec<Part>,
    mode: Mode,
    start_at: Option<StartAt>,
    cursor: Option<String>,
    order: Order,
    idle: IdleStrategy,
    is_durable: bool,
}

impl SubscriberBuilder {
    pub(crate) fn new(topic: Topic) -> SubscriberBuilder {
        SubscriberBuilder {
            parts: vec![Part { topic, partition: None, start_at: None }],
            mode: Mode::default(),
            start_at: None,
            cursor: None,
            order: Order::default(),
            idle: IdleStrategy::default(),
            is_durable: false,
        }
    }

    /// Adds another topic, or another part of the same one; its messages have the next
    /// [`Origin::topic`].
    pub fn and(mut self, topic: &Topic) -> SubscriberBuilder {
        self.parts.push(Part { topic: topic.clone(), partition: None, start_at: None });
        self
    }

    /// Only this partition of the topic that was added last.
    pub fn partition(mut self, partition: u32) -> SubscriberBuilder {
        self.last().partition = Some(partition);
        self
    }

    /// Only this partition of the topic that was added last, and from a place of its own.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// use tickcast::StartAt;
    ///
    /// let subscriber = topic
    ///     .subscribe()
    ///     .partition_at(0, StartAt::Offset(17))
    ///     .and(&topic)
    ///     .partition_at(1, StartAt::Offset(4))
    ///     .open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn partition_at(mut self, partition: u32, start_at: StartAt) -> SubscriberBuilder {
        self.last().start_at = Some(start_at);
        self.partition(partition)
    }

    /// Where everything starts that was not given a place of its own: live, unless this is set or
    /// there is a [`cursor`](SubscriberBuilder::cursor).
    pub fn start_at(mut self, start_at: StartAt) -> SubscriberBuilder {
        self.start_at = Some(start_at);
        self
    }

    /// Goes on where a subscriber of this name has [committed](Subscriber::commit), which is kept
    /// with the topic's journal: what it had not committed comes again, so that every message comes
    /// at least once. Where nothing was committed it starts as it is told to, and with
    /// [`StartAt::Earliest`] unless it is told: so that nothing is missed even if it dies before it
    /// commits for the first time.
    ///
    /// A name has one subscriber at a time, whichever partitions that has. The journal must have
    /// been started since the topic was made. The user who subscribes needs permission to write in
    /// the directory of the topic's journal.
    ///
    /// Retention keeps what a cursor needs: [remove](crate::remove_cursor) one that is not used any
    /// more.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// let mut subscriber = topic.subscribe().reliable().cursor("risk").open()?;
    /// while let Some(event) = subscriber.receive(None)? {
    ///     println!("{event:?}");
    ///     // Waits for the disk: every now and then is enough.
    ///     subscriber.commit()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cursor(mut self, name: impl Into<String>) -> SubscriberBuilder {
        self.cursor = Some(name.into());
        self
    }

    fn last(&mut self) -> &mut Part {
        self.parts.last_mut().expect("there is one from the start")
    }

    /// How it relates to the publisher.
    pub fn mode(mut self, mode: Mode) -> SubscriberBuilder {
        self.mode = mode;
        self
    }

    /// The publisher waits for it: [`Mode::Reliable`].
    pub fn reliable(self) -> SubscriberBuilder {
        self.mode(Mode::Reliable)
    }

    /// In which order messages of several partitions come.
    pub fn order(mut self, order: Order) -> SubscriberBuilder {
        self.order = order;
        self
    }

    /// Only messages that are on disk for certain, as the partition's journal says: what it hands
    /// out survives a power cut. Nothing comes while there is no journal.
    pub fn durable(mut self) -> SubscriberBuilder {
        self.is_durable = true;
        self
    }

    /// What waiting calls do while there is nothing.
    pub fn idle(mut self, idle: IdleStrategy) -> SubscriberBuilder {
        self.idle = idle;
        self
    }

    /// Subscribes. There need not be a publisher yet.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn open(self) -> Result<Subscriber, SubscribeError> {
        let mut channels = Vec::new();
        let mut cursors = self.cursor.as_deref().map(Cursors::new);
        let unless_told = if cursors.is_some() { StartAt::Earliest } else { StartAt::Live };
        for (index, part) in self.parts.iter().enumerate() {
            let (first, count) = match part.partition {
                Some(partition) => (partition, 1),
                None => (0, part.topic.partitions()),
            };
            for partition in (0..count).map(|at| first + at) {
                let origin = Origin { topic: index as u32, partition };
                let start_at = part.start_at.or(self.start_at).unwrap_or(unless_told);
                channels.push(self.open_channel(&part.topic, origin, start_at, &mut cursors)?);
            }
        }
        Ok(Subscriber::new(channels, cursors, self.order, self.idle))
    }

    /// Subscribes, and says what a late joiner has to know: of each partition the topic, with which
    /// message it starts, and how many there are now. All of it holds for the stream that is
    /// returned: what comes with offsets below [`JoinedPartition::next_offset`] was there before,
    /// what comes from it on is new, and each comes once.
    ///
    /// # Errors
    /// [`SubscribeError`].
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// use tickcast::{Event, StartAt};
    ///
    /// let mut joined = topic.subscribe().start_at(StartAt::Earliest).join()?;
    /// let next = joined.partitions[0].next_offset;
    /// println!("{} messages of {} to catch up with", next, joined.partitions[0].topic.name());
    /// joined.subscriber.poll(1024, |event| match event {
    ///     Event::Message(message) if message.offset < next => println!("from before"),
    ///     event => println!("live: {event:?}"),
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(self) -> Result<Joined, SubscribeError> {
        let topics: Vec<Topic> = self.parts.iter().map(|part| part.topic.clone()).collect();
        let mut subscriber = self.open()?;
        let partitions = subscriber.joined();
        let partitions = partitions.map(|(origin, first_offset, next_offset)| JoinedPartition {
            topic: topics[origin.topic as usize].clone(),
            origin,
            first_offset,
            next_offset,
        });
        Ok(Joined { partitions: partitions.collect(), subscriber })
    }

    fn open_channel(
        &self,
        topic: &Topic,
        origin: Origin,
        start_at: StartAt,
        cursors: &mut Option<Cursors>,
    ) -> Result<Channel, SubscribeError> {
        let partition = origin.partition;
        let files = topic.files(partition)?;
        let ring = files.ring(Access::ReadOnly)?;
        let is_reliable = self.mode == Mode::Reliable;
        let wants_wake = topic.wake_up() == WakeUp::Prompt;
        let access = if is_reliable { Access::ReadWrite } else { Access::ReadOnly };
        let pages =
            match files.subscriber_pages(if wants_wake { Access::ReadWrite } else { access }) {
                // Who may only read can still look again every now and then.
                Err(TopicError::File(FileError::Denied { .. })) if !is_reliable => {
                    files.subscriber_pages(Access::ReadOnly)?
                }
                pages => pages?,
            };
        if pages.control.load(pages::control::CLOSED, Ordering::Acquire) != 0 {
            return Err(SubscribeError::Closed);
        }
        let committed = match &mut *cursors {
            Some(cursors) => cursors.add(topic, partition, &ring, &pages)?,
            None => None,
        };
        let start_at = committed.map_or(start_at, StartAt::Offset);
        // Live is in the ring. Everything else may begin in the journal's files, if there are any.
        let mut catch_up = match start_at {
            StartAt::Live => None,
            _ => CatchUp::open(topic, partition, &pages),
        };
        let wanted = Wanted { at: start_at, is_whole: catch_up.is_some() };
        let cursors = cursors.as_ref();
        let failed = |error| match error {
            StartError::Future { offset, next } => match cursors {
                Some(cursors) if committed.is_some() => {
                    cursors.ahead(partition, offset, next).into()
                }
                _ => SubscribeError::Future { partition, offset, next },
            },
            StartError::NotHeld => unreachable!("only asked for where there are files"),
            StartError::Evicted => SubscribeError::Evicted { partition },
            StartError::Damaged(damaged) => SubscribeError::Topic(damaged.into()),
        };
        let file = files.publisher_file(false).map_err(TopicError::from)?;
        let liveness = Liveness::new(file, pages.publisher.clone());
        let is_waited_for = topic.slow_subscriber() == SlowSubscriber::Wait;
        // Taken before the lane is made, so that whatever happens the lane gives up its slot before
        // the lock says that the slot is free.
        let lock = if is_reliable { Some(self.take_slot(topic, &files, partition)?) } else { None };
        let seat = || -> Result<Option<Seat>, TopicError> {
            let Some(lock) = &lock else { return Ok(None) };
            let page = files.cursor_page(lock.byte())?;
            for counter in [pages::cursor::MESSAGES, pages::cursor::BYTES, pages::cursor::LOST] {
                page.store(counter, 0, Ordering::Relaxed);
            }
            page.store(pages::cursor::PID, u64::from(std::process::id()), Ordering::Relaxed);
            let slot = lock.byte() as usize;
            Ok(Some(Seat::new(pages.clone(), page, slot, ring.bytes_len())))
        };
        let in_ring = |seat, wanted| match seat {
            Some(seat) => Lane::reliable(ring.clone(), &pages, seat, wanted, is_waited_for),
            None => Lane::lossy(ring.clone(), &pages, wanted),
        };
        let mut lane = in_ring(seat()?, wanted);
        if lane.as_ref().is_err_and(|error| *error == StartError::NotHeld) {
            let reader = catch_up.as_mut().and_then(|catch_up| catch_up.reader(start_at));
            lane = match reader {
                Some(reader) => {
                    Ok(Lane::from_files(ring.clone(), &pages, seat()?, reader, is_waited_for))
                }
                None => in_ring(seat()?, Wanted::as_held(start_at)),
            };
        }
        let mut lane = lane.map_err(failed)?;
        if let (StartAt::Time(time_ns), Some(catch_up), true) =
            (start_at, &mut catch_up, lane.is_in_files())
        {
            catch_up.pass_before(&mut lane, time_ns).map_err(|stop| failed(stop.into()))?;
        }
        let channel = Channel::new(
            Ends { lane, lock, catch_up },
            origin,
            &pages,
            liveness,
            wants_wake,
            topic.bus().living(),
        );
        Ok(if self.is_durable { channel.only_durable(pages.journal) } else { channel })
    }

    /// Takes a slot for a reliable subscriber.
    fn take_slot(
        &self,
        topic: &Topic,
        files: &PartitionFiles<'_>,
        partition: u32,
    ) -> Result<Lock, SubscribeError> {
        let slots = 0..u64::from(topic.reliable_max());
        Lock::try_exclusive(|| files.cursors_file(true), slots)
            .map_err(TopicError::from)?
            .ok_or_else(|| SubscribeError::NoSlot {
                topic: topic.name().to_owned(),
                partition,
                reliable_max: topic.reliable_max(),
            })
    }
}

/// What [`SubscriberBuilder::join`] returns.
#[derive(Debug)]
#[non_exhaustive]
pub struct Joined {
    /// What is known of each partition, in the order in which they were subscribed to.
    pub partitions: Vec<JoinedPartition>,
    /// Hands out the messages.
    pub subscriber: Subscriber,
}

/// What a late joiner has to know of a partition.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JoinedPartition {
    /// Its topic.
    pub topic: Topic,
    /// Which one it is, as in its messages.
    pub origin: Origin,
    /// Offset of the first message that will be handed out, or reported as lost.
    pub first_offset: u64,
    /// Offset of the next message that will be published: as many as this, gaps included, were
    /// published so far.
    pub next_offset: u64,
}

/// Why a subscriber could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// All slots for reliable subscribers are taken.
    #[error(
        "partition {partition} of topic {topic} has {reliable_max} reliable subscribers, which is \
         all that it admits: stop one of them, or subscribe lossily"
    )]
    NoSlot {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// How many it admits.
        reliable_max: u32,
    },
    /// The offset to start at was not published yet.
    #[error(
        "partition {partition} has no message {offset} yet: the next one is {next}; start at \
         that, or live"
    )]
    Future {
        /// The partition.
        partition: u32,
        /// The offset asked for.
        offset: u64,
        /// The offset that the next message gets.
        next: u64,
    },
    /// The publisher had evicted the subscriber before it could start.
    #[error(
        "partition {partition} evicts subscribers faster than one can join: create the topic with \
         a longer deadline, or subscribe lossily"
    )]
    Evicted {
        /// The partition.
        partition: u32,
    },
    /// The cursor.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The bus was removed.
    #[error("the bus was removed: create it again")]
    Closed,
    /// The topic's files.
    #[error(transparent)]
    Topic(#[from] TopicError),
}
