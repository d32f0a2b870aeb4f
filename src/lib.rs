//! A low-latency market-data and event bus for Linux: publish once into shared memory, read
//! everywhere on the host.
//!
//! A **bus** is a named directory of **topics** in shared memory; a topic has one or more
//! **partitions**; a partition is one log with one [`Publisher`] and any number of [`Subscriber`]s,
//! in the same process or in others, which all read the same bytes. There is no daemon.
//!
//! | what | how |
//! |---|---|
//! | a message of up to 48 bytes | moves in one cache line |
//! | a message of up to a quarter of the ring, at most 16 MiB - 1 | is fragmented above 65,392 bytes |
//! | a ring | 256 KiB to 64 GiB, a power of two, allocated when the topic is made |
//! | order | within a partition, by offset: dense, from 0 |
//! | a reliable subscriber | gates the publisher; up to 64 a partition |
//! | a lossy subscriber | may be overrun, and is told exactly what it lost; any number |
//!
//! What may surprise who knows other buses:
//!
//! - A subscriber is lossy and starts live unless it asks for something else. Nothing of it is kept
//!   when it goes, unless it has a [name](SubscriberBuilder::cursor) and the topic a journal: to go
//!   on later, keep its [offsets](Subscriber::offsets).
//! - A publisher needs nobody who listens. It waits for reliable subscribers only, for one that
//!   hangs as long as for one that is slow, unless the topic [evicts](SlowSubscriber::EvictAfter)
//!   them.
//! - An offset numbers messages, not bytes, and a message above 64 KiB comes in one piece.
//! - Timestamps are the publisher's own: the bus neither sets nor checks them.
//! - Losses, deaths and returns are no errors: they come as [`Notice`]s, each in its place between
//!   the messages.
//! - A bus stays, with all that its rings hold, until it is removed or the host restarts. What is
//!   to survive that needs a [journal](Topic::journal).
//!
//! Errors, kinds of notices, causes of losses and starts will get more variants, and those of them
//! that are structs, like the counters, more fields; the fields of a variant stay as they are.
//! [`Event`] and [`Flow`] will not get more, so match on these without a `_`.
//!
//! # Examples
//! ```no_run
//! use tickcast::{Bus, Event, StartAt, runtime::clock};
//! use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
//!
//! #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
//! #[repr(C)]
//! struct Trade {
//!     price: i64,
//!     quantity: u64,
//! }
//!
//! let bus = Bus::open_or_create("md")?;
//! let trades = bus.topic("trades").open_or_create()?;
//! let mut subscriber = trades.subscribe().reliable().start_at(StartAt::Earliest).open()?;
//!
//! let mut publisher = trades.publisher(0)?;
//! publisher.publish(clock::now_ns(), &Trade { price: 481_025, quantity: 3 })?;
//!
//! if let Some(Event::Message(message)) = subscriber.receive(None)? {
//!     let trade: &Trade = message.read()?;
//!     println!("message {}: {} at {}", message.offset, trade.quantity, trade.price);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!("tickcast needs Linux on a little-endian 64-bit machine");

// A model (`--cfg loom`) is made of the log alone: files, threads and processes are real.
#[cfg(not(loom))]
mod bus;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod journal;
#[cfg_attr(loom, allow(dead_code, unreachable_pub))]
mod log;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(not(loom))]
mod shm;
mod sync;

#[cfg(not(loom))]
pub use crate::{
    bus::*,
    journal::*,
    log::{lane::StartAt, walk::Damaged},
    shm::error::FileError,
    shm::lock::LockError,
    shm::name::NameError,
};

/// The README's code is compiled with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
