//! What subscribers cost the publisher: one publishes, and one thread of the other process polls
//! them all. Full waits are not counted: how fast a crowd reads is not the publisher's cost.
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tickcast::runtime::{Idle, IdleStrategy};
use tickcast::{Bus, Event, Mode, NoticeKind, PublishError, Publisher, Subscriber};

use super::block::Contender;
use super::peer::Far;
use super::rounds::Round;
use super::spin::{BlockError, spin_until};
use super::stream::{checksum, message};
use super::temporary_bus::{TemporaryBus, Words, passed_over, sum};
use super::verdict::Judged;

/// Most messages that one subscriber is handed before the next one's turn.
const POLL_LIMIT: usize = 256;

/// The subscribers of one contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowd {
    pub(crate) name: &'static str,
    topic: &'static str,
    mode: Mode,
    subscribers: usize,
}

/// Who is compared; each with the last one before it that has one subscriber.
pub(crate) const CROWDS: [Crowd; 8] = [
    Crowd::new("1 lossy", "lossy-1", Mode::Lossy, 1),
    Crowd::new("2 lossy", "lossy-2", Mode::Lossy, 2),
    Crowd::new("8 lossy", "lossy-8", Mode::Lossy, 8),
    Crowd::new("64 lossy", "lossy-64", Mode::Lossy, 64),
    Crowd::new("1 reliable", "reliable-1", Mode::Reliable, 1),
    Crowd::new("2 reliable", "reliable-2", Mode::Reliable, 2),
    Crowd::new("8 reliable", "reliable-8", Mode::Reliable, 8),
    Crowd::new("64 reliable", "reliable-64", Mode::Reliable, 64),
];

impl Crowd {
    const fn new(name: &'static str, topic: &'static str, mode: Mode, subscribers: usize) -> Self {
        Self { name, topic, mode, subscribers }
    }

    /// Makes the topic and the publishing half.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn near(&self, bus: &TemporaryBus) -> Result<FanOut> {
        let publisher = bus.create_topic(self.topic)?.publisher(0);
        let publisher = publisher.with_context(|| format!("cannot publish to {}", self.topic))?;
        Ok(FanOut { publisher })
    }

    /// The subscribers.
    ///
    /// # Errors
    /// When the other half is gone.
    pub(crate) fn far(&self, bus: &Bus) -> Result<Audience> {
        let topic = bus.open_topic(self.topic)?;
        let open = |_| Ok((topic.subscribe().mode(self.mode).open()?, 0));
        let subscribers: Result<_> = (0..self.subscribers).map(open).collect();
        let subscribers =
            subscribers.with_context(|| format!("cannot subscribe to {}", self.topic))?;
        Ok(Audience { subscribers })
    }
}

/// The publishing half.
pub(crate) struct FanOut {
    publisher: Publisher,
}

impl FanOut {
    /// Publishes `messages`; returns how long it had to wait for subscribers, and how often.
    fn publish(&mut self, messages: u64) -> Result<(Duration, u64)> {
        let (mut waited, mut waits) = (Duration::ZERO, 0);
        let first = self.publisher.next_offset();
        for number in first..first + messages {
            let message = message::<6>(number);
            match self.publisher.try_publish(number, &message) {
                Ok(_) => {}
                Err(PublishError::Full(_)) => {
                    let start = Instant::now();
                    self.publisher.publish(number, &message)?;
                    waited += start.elapsed();
                    waits += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((waited, waits))
    }
}

/// What publishing a block cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cost {
    pub(crate) messages: u64,
    /// Without what was waited for subscribers.
    pub(crate) publishing_ns: f64,
    pub(crate) full_waits: u64,
}

impl Contender<'_, FanOut> {
    /// Measures a block of `messages`.
    ///
    /// # Errors
    /// When either side fails.
    pub(crate) fn block(&mut self, messages: u64) -> Result<Cost> {
        self.far.start(messages).context(self.name)?;
        let start = Instant::now();
        let (waited, full_waits) = self.near.publish(messages).context(self.name)?;
        let publishing_ns = (start.elapsed() - waited).as_nanos() as f64;
        self.far.finish().context(self.name)?;
        Ok(Cost { messages, publishing_ns, full_waits })
    }
}

/// What the figures of a fan-out block are.
pub(crate) const FANOUT_COLUMNS: [&str; 3] = ["x one subscriber", "ns a message", "full waits"];

/// Judges a round: each crowd against the single subscriber of its kind.
pub(crate) fn judge_fanout(round: &Round<Cost>) -> Vec<Judged> {
    let mut one_ns = None;
    let judge = |(crowd, cost): (&Crowd, &Cost)| {
        let message_ns = cost.publishing_ns / cost.messages as f64;
        if crowd.subscribers == 1 {
            one_ns = Some(message_ns);
        }
        let ratio = one_ns.map(|one_ns| message_ns / one_ns);
        Judged {
            valid: true,
            count: cost.messages,
            figures: vec![ratio, Some(message_ns), Some(cost.full_waits as f64)],
        }
    };
    CROWDS.iter().zip(&round.blocks).map(judge).collect()
}

/// The subscribing half: all subscribers, each with the number of the message that it wants next.
pub(crate) struct Audience {
    subscribers: Vec<(Subscriber, u64)>,
}

impl Far for Audience {
    fn block(&mut self, count: u64) -> Result<()> {
        let end = self.subscribers.iter().map(|&(_, next)| next).max().unwrap_or(0) + count;
        let mut idle = Idle::new(IdleStrategy::SpinPause);
        let mut failure = None;
        while self.subscribers.iter().any(|&(_, next)| next < end) {
            spin_until::<0>(|| {
                let polled = self.subscribers.iter_mut().map(|(subscriber, next)| {
                    subscriber.poll(POLL_LIMIT, |event| {
                        if let Err(error) = take(event, next) {
                            failure = Some(error);
                        }
                    })
                });
                let polled = polled.sum();
                idle.polled(polled, POLL_LIMIT * self.subscribers.len());
                polled > 0
            })?;
            failure.take().map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}

/// Takes an event of a subscriber that wants message `next`: that one, or the news that it is lost.
#[inline(always)]
fn take(event: Event<'_>, next: &mut u64) -> Result<()> {
    match event {
        Event::Message(message) => {
            let (expected, found) = (checksum::<6>(*next, 1), sum(message.read::<Words>()?));
            if found != expected {
                return Err(BlockError::Corrupt { expected, found }.into());
            }
            *next += 1;
        }
        Event::Notice(notice) => match notice.kind {
            NoticeKind::Lost { from, to, .. } if from == *next => *next = to + 1,
            _ => passed_over(notice)?,
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::block::Latency;

    #[test]
    fn each_crowd_is_set_against_the_single_subscriber_of_its_kind() {
        let cost = |publishing_ns| Cost { messages: 100, publishing_ns, full_waits: 3 };
        let handoff = Latency { samples: 0, p50_ns: None, p99_ns: None, p99_9_ns: None };
        let costs = [300.0, 450.0, 600.0, 750.0, 200.0, 300.0, 400.0, 500.0];
        let blocks = costs.map(cost).to_vec();
        let round = Round { opening: handoff, handoff_ns: 100.0, blocks, closing: handoff };
        let ratios: Vec<_> = judge_fanout(&round).iter().map(|j| j.figures[0].unwrap()).collect();
        assert_eq!(ratios, [1.0, 1.5, 2.0, 2.5, 1.0, 1.5, 2.0, 2.5]);
        assert_eq!(judge_fanout(&round)[4].figures[1..], [Some(2.0), Some(3.0)]);
    }
}
