//! What users hold: bus, topic, publisher and subscriber, and what lies under a bus's name. The log
//! itself is in `log`, files and locks are in `shm`.
#![forbid(unsafe_code)]

mod bus_dir;
mod catch_up;
mod channel;
mod claim;
mod cursors;
pub(crate) mod descriptor;
mod durable;
mod fnv;
mod hindrance;
mod last;
mod liveness;
mod merge;
pub(crate) mod message;
pub(crate) mod partition;
mod publish_error;
mod publisher;
mod sequencer;
mod stat;
mod subscribe;
mod subscriber;
pub(crate) mod topic;
mod topic_builder;
mod topic_error;
mod waiting;

pub use bus_dir::{Bus, BusBuilder, RemoveError};
pub use claim::Claim;
pub use descriptor::{SlowSubscriber, WakeUp};
pub use durable::DurableError;
pub use message::{
    Event, Flow, LossCause, Message, Notice, NoticeKind, Origin, OwnedMessage, TypeError,
};
pub use publish_error::{Full, PublishError, PublisherError};
pub use publisher::Publisher;
pub use sequencer::{Sequencer, SequencerError};
pub use stat::{JournalStat, PartitionStat, SubscriberStat, TopicStat};
pub use subscribe::{Joined, JoinedPartition, Mode, Order, SubscribeError, SubscriberBuilder};
pub use subscriber::{Batch, Messages, ReceiveError, Subscriber, SubscriberCounters};
pub use topic::Topic;
pub use topic_builder::TopicBuilder;
pub use topic_error::TopicError;
