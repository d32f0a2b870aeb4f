//! iceoryx2, publish-subscribe through shared memory without copies.
//!
//! The settings of its authors' benchmark (benchmarks/publish-subscribe in its repository): no
//! history, one publisher, one subscriber, and a sample that is loaned before it is needed. Loaning
//! when it is needed was slower, and so was `send_copy`. The `ipc` service, between threads as
//! well: there, `local` and both thread-safe ones were slower.
//!
//! The benchmark's buffer of one sample that is overwritten is faster in round trips, but loses
//! messages as soon as two are under way: so that is a contender of its own, in round trips alone.
//! The buffer of the other holds 2 MiB of payloads, and what does not fit is sent again. In streams
//! the size of the buffer made no difference.
//!
//! What is sent before the subscriber has connected is lost without a word, so the receiver tells
//! that it has, and the sender waits for that.
use std::any::Any;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::{
    BackpressureStrategy, Config, FileName, LogLevel, NodeBuilder, SemanticString, ServiceName,
    SignalHandlingMode, ipc, set_log_level,
};
use iceoryx2::sample_mut_uninit::SampleMutUninit;
use iceoryx2::service::port_factory::PortFactory as _;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use tickcast_harness::message::Words;
use tickcast_harness::shared;
use tickcast_harness::transport::{Link, Place, Receiver, Run, Sender, Transport};

const SHARED_MEMORY: &str = "/dev/shm";

/// The publish-subscribe service, which overwrites what was not read yet, or loses nothing.
pub struct PubSub<const OVERFLOWS: bool>;

/// The publish-subscribe service that loses nothing.
pub type Iceoryx2 = PubSub<false>;

/// The publish-subscribe service with a buffer of one sample that is overwritten.
pub type Iceoryx2Overflow = PubSub<true>;

/// A publisher.
pub struct SamplePublisher<const W: usize> {
    /// Not there while the subscriber has not connected.
    next: Option<Loan<W>>,
    publisher: Publisher<ipc::Service, Words<W>, ()>,
    is_connected: &'static AtomicU64,
}

/// A subscriber.
pub struct SampleSubscriber<const W: usize> {
    subscriber: Subscriber<ipc::Service, Words<W>, ()>,
    /// What it waits for a publisher with, as long as there is none.
    waits_for: Option<PortFactory<ipc::Service, Words<W>, ()>>,
    is_connected: &'static AtomicU64,
}

type Loan<const W: usize> = SampleMutUninit<ipc::Service, MaybeUninit<Words<W>>, ()>;

impl<const OVERFLOWS: bool> Transport for PubSub<OVERFLOWS> {
    const NAME: &'static str = if OVERFLOWS { "iceoryx2 overflow" } else { "iceoryx2" };
    const HOW: &'static str = if OVERFLOWS {
        "as iceoryx2, but a buffer of one that is overwritten: loses messages, so no streams"
    } else {
        "ipc service, samples loaned ahead; back-pressure, not overflow"
    };
    const PLACES: &'static [Place] = &[Place::InProcess, Place::Ipc];
    const STREAMS: bool = !OVERFLOWS;

    type Sender<const W: usize> = SamplePublisher<W>;
    type Receiver<const W: usize> = SampleSubscriber<W>;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        shared::create(&link.path("connected"), 1)?;
        remove_what_the_dead_left();
        Ok(Box::new(Leftovers(prefix(link.run)?)))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<SamplePublisher<W>> {
        let publisher = open::<W>(link, OVERFLOWS)?
            .publisher_builder()
            .max_loaned_samples(1)
            .backpressure_strategy(BackpressureStrategy::DiscardData)
            .create()
            .context("cannot make a publisher")?;
        Ok(SamplePublisher { next: None, publisher, is_connected: is_connected(link)? })
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<SampleSubscriber<W>> {
        let service = open::<W>(link, OVERFLOWS)?;
        let subscriber = service.subscriber_builder().create();
        let subscriber = subscriber.context("cannot make a subscriber")?;
        let is_connected = is_connected(link)?;
        Ok(SampleSubscriber { subscriber, waits_for: Some(service), is_connected })
    }
}

/// Whether the receiver has connected to the sender.
fn is_connected(link: &Link<'_>) -> Result<&'static AtomicU64> {
    Ok(&shared::open(&link.path("connected"))?[0].words[0])
}

/// What the names of all that a run has in shared memory begin with: the name of its directory,
/// which has the pid of its maker.
fn prefix(run: &Run) -> Result<String> {
    let name = run.directory.file_name().and_then(|name| name.to_str());
    Ok(format!("{}_", name.context("the run's directory has no name")?))
}

/// The service of a link, in a place of its own: nothing of the user's is seen or touched.
fn open<const W: usize>(
    link: &Link<'_>,
    overflows: bool,
) -> Result<PortFactory<ipc::Service, Words<W>, ()>> {
    set_log_level(LogLevel::Fatal);
    let mut config = Config::default();
    config.global.prefix = FileName::new(prefix(link.run)?.as_bytes())?;
    let root: PathBuf = link.run.directory.join("iceoryx2");
    config.global.set_root_path(&iceoryx2::prelude::Path::new(root.as_os_str().as_bytes())?);
    let node = NodeBuilder::new()
        .config(&config)
        // They belong to the harness.
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<ipc::Service>()
        .context("cannot make a node")?;
    node.service_builder(&ServiceName::new(&link.name)?)
        .publish_subscribe::<Words<W>>()
        .max_publishers(1)
        .max_subscribers(1)
        .max_nodes(2)
        .history_size(0)
        .subscriber_max_buffer_size(if overflows { 1 } else { link.slots() })
        .subscriber_max_borrowed_samples(1)
        .enable_safe_overflow(overflows)
        .open_or_create()
        .with_context(|| format!("cannot open the service {}", link.name))
}

impl<const W: usize> SamplePublisher<W> {
    /// The first one, if the subscriber has connected.
    #[cold]
    fn first_loan(&self) -> Result<Option<Loan<W>>> {
        self.publisher.update_connections()?;
        // Pairs with the release store in `connect`.
        if self.is_connected.load(Ordering::Acquire) == 0 {
            return Ok(None);
        }
        self.loan().map(Some)
    }

    #[inline(always)]
    fn loan(&self) -> Result<Loan<W>> {
        self.publisher.loan_uninit().context("cannot loan a sample")
    }
}

impl<const W: usize> Sender<W> for SamplePublisher<W> {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        let loan = match self.next.take() {
            Some(loan) => loan,
            None => match self.first_loan()? {
                Some(loan) => loan,
                None => return Ok(false),
            },
        };
        // Nobody gets it where the buffer is full.
        let delivered = loan.write_payload(*message).send().context("cannot send a sample")?;
        self.next = Some(self.loan()?);
        Ok(delivered > 0)
    }
}

impl<const W: usize> SampleSubscriber<W> {
    /// Connects to the publisher, if there is one.
    #[cold]
    fn connect(&mut self) -> Result<()> {
        let Some(service) = &self.waits_for else { return Ok(()) };
        if service.dynamic_config().number_of_publishers() > 0 {
            self.subscriber.update_connections()?;
            self.waits_for = None;
            // Pairs with the acquire load in `first_loan`.
            self.is_connected.store(1, Ordering::Release);
        }
        Ok(())
    }
}

impl<const W: usize> Receiver<W> for SampleSubscriber<W> {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        if self.waits_for.is_some() {
            self.connect()?;
        }
        for taken in 0..limit {
            match self.subscriber.receive().context("cannot receive a sample")? {
                Some(sample) => take(sample.payload()),
                None => return Ok(taken),
            }
        }
        Ok(limit)
    }
}

/// What is left in shared memory where a process ended without a goodbye, as the far side does; its
/// name begins so. Removed when this is dropped.
struct Leftovers(String);

impl Drop for Leftovers {
    fn drop(&mut self) {
        remove(|name| name.starts_with(&self.0));
    }
}

/// Removes what runs that were killed have left.
fn remove_what_the_dead_left() {
    let is_left = |name: &str| {
        let pid = name.strip_prefix("tickcast-bench-").and_then(|rest| rest.split_once('_'));
        let pid = pid.and_then(|(pid, _)| pid.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    };
    remove(is_left);
}

/// Removes all files in shared memory with such a name.
fn remove(is_wanted: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&is_wanted) {
            // Another user's stays, and what another end has removed in the meantime is gone.
            let _ = fs::remove_file(entry.path());
        }
    }
}
