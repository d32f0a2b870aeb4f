//! What a subscriber hands out: messages and notices.

use std::fmt;

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::log::frame::flags;
use crate::log::reader::RawMessage;
use crate::log::walk::Damaged;

/// Where a message or a notice comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Origin {
    /// Index of the topic, in the order in which the subscriber was given its topics.
    pub topic: u32,
    /// The partition.
    pub partition: u32,
}

/// A message, in place or in a private copy; either way it can be looked at without cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Where it comes from.
    pub origin: Origin,
    /// Its ordinal number in its partition.
    pub offset: u64,
    /// As the publisher gave it, ns since the Unix epoch.
    pub timestamp_ns: u64,
    /// Its bytes. They are aligned to 16 bytes.
    pub payload: &'a [u8],
    flags: u8,
}

impl<'a> Message<'a> {
    #[inline]
    pub(crate) fn new(origin: Origin, raw: RawMessage<'a>) -> Message<'a> {
        let RawMessage { offset, timestamp_ns, flags, payload } = raw;
        Message { origin, offset, timestamp_ns, payload, flags }
    }

    /// The payload as a `T`, in place. `T` may be aligned to 16 bytes at most, which is checked at
    /// compile time.
    ///
    /// # Errors
    /// [`TypeError`] when the payload's length is not that of a `T`.
    ///
    /// # Examples
    /// ```
    /// # use tickcast::{Message, TypeError};
    /// use zerocopy::{FromBytes, Immutable, KnownLayout};
    ///
    /// #[derive(FromBytes, Immutable, KnownLayout)]
    /// #[repr(C)]
    /// struct Trade {
    ///     price: i64,
    ///     quantity: u64,
    /// }
    ///
    /// fn notional(message: &Message<'_>) -> Result<i64, TypeError> {
    ///     let trade = message.read::<Trade>()?;
    ///     Ok(trade.price * trade.quantity as i64)
    /// }
    /// ```
    #[inline]
    pub fn read<T: FromBytes + Immutable + KnownLayout>(&self) -> Result<&'a T, TypeError> {
        const {
            assert!(align_of::<T>() <= 16, "payloads are aligned to 16 bytes");
        }
        T::ref_from_bytes(self.payload)
            .map_err(|_| TypeError::new::<T>(self.offset, self.payload.len()))
    }

    /// Whether a replay put it here.
    pub fn is_replayed(&self) -> bool {
        self.flags & flags::REPLAYED != 0
    }

    /// Whether it deletes its key when the log is compacted.
    pub fn is_tombstone(&self) -> bool {
        self.flags & flags::TOMBSTONE != 0
    }

    /// A copy that outlives the subscriber's next call.
    pub fn to_owned(&self) -> OwnedMessage {
        OwnedMessage {
            origin: self.origin,
            offset: self.offset,
            timestamp_ns: self.timestamp_ns,
            payload: self.payload.to_vec(),
        }
    }
}

/// The payload of a message is not of the wanted type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "message {offset} has {payload_bytes} bytes, the type {type_bytes}: read it as the type that \
     was published"
)]
#[non_exhaustive]
pub struct TypeError {
    /// The message.
    pub offset: u64,
    /// Length of its payload in bytes.
    pub payload_bytes: usize,
    /// Size of the type in bytes.
    pub type_bytes: usize,
}

impl TypeError {
    fn new<T>(offset: u64, payload_bytes: usize) -> TypeError {
        TypeError { offset, payload_bytes, type_bytes: size_of::<T>() }
    }
}

/// A message that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedMessage {
    /// Where it comes from.
    pub origin: Origin,
    /// Its ordinal number in its partition.
    pub offset: u64,
    /// As the publisher gave it, ns since the Unix epoch.
    pub timestamp_ns: u64,
    /// Its bytes.
    pub payload: Vec<u8>,
}

impl OwnedMessage {
    /// The payload as a `T`, copied: these bytes are aligned to nothing.
    ///
    /// # Errors
    /// [`TypeError`] when the payload's length is not that of a `T`.
    ///
    /// # Examples
    /// ```no_run
    /// # let topic = tickcast::Bus::open("md")?.open_topic("trades")?;
    /// # let mut subscriber = topic.subscribe().open()?;
    /// use zerocopy::FromBytes;
    ///
    /// #[derive(FromBytes)]
    /// #[repr(C)]
    /// struct Trade {
    ///     price: i64,
    ///     quantity: u64,
    /// }
    ///
    /// for message in subscriber.messages()? {
    ///     let trade: Trade = message?.read()?;
    ///     println!("{} at {}", trade.quantity, trade.price);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read<T: FromBytes>(&self) -> Result<T, TypeError> {
        T::read_from_bytes(&self.payload)
            .map_err(|_| TypeError::new::<T>(self.offset, self.payload.len()))
    }
}

/// Something that a subscriber hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message.
    Message(Message<'a>),
    /// Something that the subscriber should know about where they come from.
    Notice(Notice),
}

/// Something that a subscriber should know about where its messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind} (topic {}, partition {})", origin.topic, origin.partition)]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
    /// Which one.
    pub origin: Origin,
}

/// What can happen to a partition. There will be more kinds: of one that you do not know,
/// [`is_final`](NoticeKind::is_final) tells whether the partition goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoticeKind {
    /// Messages that the subscriber will never see; both ends included.
    #[error("messages {from} to {to} are lost ({cause})")]
    Lost {
        /// Offset of the first lost message.
        from: u64,
        /// Offset of the last.
        to: u64,
        /// Why.
        cause: LossCause,
    },
    /// The publisher has exited or died, and all that it published was handed out: what you have
    /// may be stale. A successor that publishes at once leaves no time to tell: then this and
    /// [`NoticeKind::PublisherBack`] come with its second block (64 KiB) at the latest.
    #[error("its publisher is gone")]
    PublisherGone,
    /// There is a publisher again; it goes on with the offsets.
    #[error("it has a publisher again (epoch {epoch})")]
    PublisherBack {
        /// How many publishers there have been.
        epoch: u64,
    },
    /// The publisher goes on without this subscriber, which was too slow. Nothing more comes from
    /// this partition: subscribe again.
    #[error("this subscriber was too slow and is evicted: subscribe again")]
    Evicted,
    /// The bus was removed. Nothing more comes from this partition.
    #[error("its bus was removed")]
    Closed,
    /// The log holds something that no publisher writes. Nothing more comes from this partition.
    #[error(transparent)]
    Damaged(Damaged),
}

impl NoticeKind {
    /// Whether nothing more comes from the partition.
    pub fn is_final(&self) -> bool {
        matches!(self, NoticeKind::Evicted | NoticeKind::Closed | NoticeKind::Damaged(_))
    }
}

/// Why messages are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossCause {
    /// The subscriber was too slow: the publisher has overwritten them.
    Overrun,
    /// The feed that the publisher publishes never delivered them.
    Feed,
    /// The journal did not have them.
    Journal,
}

impl LossCause {
    pub(crate) fn code(self) -> u64 {
        match self {
            LossCause::Overrun => 1,
            LossCause::Feed => 2,
            LossCause::Journal => 3,
        }
    }

    /// The cause in a gap frame; a reader without one was overrun, and an unknown one is the
    /// feed's: the publisher knows of it.
    pub(crate) fn from_code(code: Option<u64>) -> LossCause {
        match code {
            None | Some(1) => LossCause::Overrun,
            Some(3) => LossCause::Journal,
            Some(_) => LossCause::Feed,
        }
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LossCause::Overrun => "overrun",
            LossCause::Feed => "feed",
            LossCause::Journal => "journal",
        })
    }
}

/// How a handler answers an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// The event is consumed; go on.
    #[default]
    Next,
    /// The event is consumed; hand out no more in this call.
    Stop,
    /// The event is not consumed: it comes again with the next call.
    Retry,
}

/// A handler that returns nothing always goes on.
impl From<()> for Flow {
    fn from((): ()) -> Flow {
        Flow::Next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(payload: &[u8]) -> OwnedMessage {
        let raw = RawMessage { offset: 7, timestamp_ns: 1, flags: 0, payload };
        Message::new(Origin::default(), raw).to_owned()
    }

    #[test]
    fn an_owned_message_is_read_as_what_was_published() {
        let words = [3_u64, 1 << 40];
        let bytes = words.map(u64::to_le_bytes);
        assert_eq!(owned(bytes.as_flattened()).read(), Ok(words));
    }

    #[test]
    fn an_owned_message_of_another_length_is_no_such_type() {
        for length in [0, 15, 17, 32] {
            let error = TypeError { offset: 7, payload_bytes: length, type_bytes: 16 };
            assert_eq!(owned(&vec![1; length]).read::<[u64; 2]>(), Err(error));
        }
    }
}
