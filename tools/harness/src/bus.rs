//! tickcast itself, as a transport: each link is a topic with a publisher and one subscriber.
use std::any::Any;

use anyhow::{Context, Result};
use tickcast::{
    Bus, Event, Notice, NoticeKind, PublishError, Publisher, StartAt, Subscriber, Topic,
};

use crate::message::Words;
use crate::spin::{PAUSING, spin_until};
use crate::transport::{Link, Mode, Place, RING_BYTES, Receiver, Run, Sender, Transport};

/// Messages that are handed to `publish_batch` at once: what a feed's packet holds.
const BATCH: usize = 16;

/// The bus.
pub struct Tickcast;

/// A publisher.
pub struct BusSender(pub(crate) Publisher);

/// A subscriber.
pub struct BusReceiver {
    subscriber: Subscriber,
    lost: u64,
}

impl Transport for Tickcast {
    const NAME: &'static str = "tickcast";
    const HOW: &'static str = "typed try_publish and try_publish_batch; read in place";
    const PLACES: &'static [Place] = &[Place::InProcess, Place::Ipc];

    type Sender<const W: usize> = BusSender;
    type Receiver<const W: usize> = BusReceiver;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        Ok(Box::new(create_topic(link.run, &link.name)?))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<BusSender> {
        let publisher = open_topic(link.run, &link.name)?.publisher(0);
        Ok(BusSender(publisher.with_context(|| format!("cannot publish to {}", link.name))?))
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<BusReceiver> {
        let topic = open_topic(link.run, &link.name)?;
        let subscriber = subscribe(&topic, link.run.mode, StartAt::Live)?;
        Ok(BusReceiver { subscriber, lost: 0 })
    }
}

impl<const W: usize> Sender<W> for BusSender {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        has_published(self.0.try_publish(message[0], message))
    }

    #[inline]
    fn send_all(&mut self, messages: &[Words<W>]) -> Result<()> {
        for messages in messages.chunks(BATCH) {
            let batch: [(u64, &Words<W>); BATCH] = std::array::from_fn(|at| {
                let message = &messages[at.min(messages.len() - 1)];
                (message[0], message)
            });
            let mut batch = &batch[..messages.len()];
            spin_until::<PAUSING>(|| {
                match self.0.try_publish_batch(batch) {
                    Ok(count) => batch = &batch[count..],
                    Err(error) => _ = or_full(error)?,
                }
                Ok(batch.is_empty())
            })?;
        }
        Ok(())
    }
}

/// Whether a message was published, and not refused for want of room.
///
/// # Errors
/// Every other reason why it was not.
#[inline(always)]
fn has_published(published: Result<u64, PublishError>) -> Result<bool> {
    match published {
        Ok(_) => Ok(true),
        Err(error) => or_full(error),
    }
}

#[cold]
fn or_full(error: PublishError) -> Result<bool> {
    match error {
        PublishError::Full(_) => Ok(false),
        other => Err(other.into()),
    }
}

impl<const W: usize> Receiver<W> for BusReceiver {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        let Self { subscriber, lost } = self;
        let (mut more, mut failure) = (0, None);
        let polled = subscriber.poll(limit, |event| match event {
            Event::Message(message) => match message.read::<Words<W>>() {
                Ok(words) => take(words),
                Err(error) => failure = Some(of_other_type(error)),
            },
            Event::Notice(notice) => match missed(notice, lost) {
                Ok(messages) => more += messages,
                Err(error) => failure = Some(error),
            },
        });
        match failure {
            None => Ok(polled.wrapping_add_signed(more)),
            Some(error) => Err(error),
        }
    }

    fn lost(&self) -> u64 {
        self.lost
    }
}

/// Out of the way of what is expected, so that the handler becomes part of the poll.
#[cold]
#[inline(never)]
fn of_other_type(error: tickcast::TypeError) -> anyhow::Error {
    error.into()
}

/// How many messages a notice stands for, less the one event that the poll counts.
#[cold]
#[inline(never)]
fn missed(notice: Notice, lost: &mut u64) -> Result<isize> {
    if let NoticeKind::Lost { from, to, .. } = notice.kind {
        *lost += to + 1 - from;
        return Ok((to - from) as isize);
    }
    passed_over(notice).map(|()| -1)
}

/// Passes over the news that a publisher came or went.
///
/// # Errors
/// Every other notice.
#[cold]
pub fn passed_over(notice: Notice) -> Result<()> {
    match notice.kind {
        NoticeKind::PublisherGone | NoticeKind::PublisherBack { .. } => Ok(()),
        _ => Err(notice.into()),
    }
}

pub(crate) fn create_topic(run: &Run, name: &str) -> Result<Topic> {
    let topic = open(run)?.topic(name).ring_bytes(RING_BYTES as u64).create();
    topic.with_context(|| format!("cannot make the topic {name}"))
}

pub(crate) fn open_topic(run: &Run, name: &str) -> Result<Topic> {
    open(run)?.open_topic(name).with_context(|| format!("cannot open the topic {name}"))
}

pub(crate) fn subscribe(topic: &Topic, mode: Mode, start_at: StartAt) -> Result<Subscriber> {
    let mode = match mode {
        Mode::Reliable => tickcast::Mode::Reliable,
        Mode::Lossy => tickcast::Mode::Lossy,
    };
    let subscriber = topic.subscribe().mode(mode).start_at(start_at).open();
    subscriber.with_context(|| format!("cannot subscribe to {}", topic.name()))
}

fn open(run: &Run) -> Result<Bus> {
    let name = &run.bus;
    Bus::open(name).with_context(|| format!("cannot open the bus {name}; is its maker gone?"))
}
