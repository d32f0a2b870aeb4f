//! A round trip over the bus: two topics, a publisher and a reliable subscriber of each, one pair in
//! either process.
use anyhow::{Context, Result};
use tickcast::{Bus, Event, Publisher, Subscriber};

use super::block::RoundTrip;
use super::peer::Far;
use super::spin::{BlockError, spin_until};
use super::stream;
use super::temporary_bus::{TemporaryBus, Words, passed_over, sum};

const PING: &str = "ping";
const PONG: &str = "pong";

/// Either half: what it publishes, and what it waits for.
pub(crate) struct BusRoundTrip {
    publisher: Publisher,
    subscriber: Subscriber,
}

impl BusRoundTrip {
    /// Makes the topics, and the half that asks.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn near(bus: &TemporaryBus) -> Result<Self> {
        let (ping, pong) = (bus.create_topic(PING)?, bus.create_topic(PONG)?);
        let subscriber = pong.subscribe().reliable().open().context("cannot subscribe to pong")?;
        let publisher = ping.publisher(0).context("cannot publish to ping")?;
        Ok(Self { publisher, subscriber })
    }

    /// The half that answers.
    ///
    /// # Errors
    /// When the other half is gone.
    pub(crate) fn far(bus: &Bus) -> Result<Self> {
        let (ping, pong) = (bus.open_topic(PING)?, bus.open_topic(PONG)?);
        let subscriber = ping.subscribe().reliable().open().context("cannot subscribe to ping")?;
        let publisher = pong.publisher(0).context("cannot publish to pong")?;
        Ok(Self { publisher, subscriber })
    }

    /// Publishes the message of the next number, which is the publisher's next offset.
    #[inline(always)]
    fn publish(&mut self) -> Result<u64, BlockError> {
        let number = self.publisher.next_offset();
        let message: Words = stream::message(number);
        Ok(self.publisher.publish(number, &message)?)
    }

    /// Waits for the message of number `number`.
    #[inline(always)]
    fn receive(&mut self, number: u64) -> Result<(), BlockError> {
        let mut found = None;
        let mut failure: Option<BlockError> = None;
        spin_until::<0>(|| {
            self.subscriber.poll(1, |event| match event {
                Event::Message(message) => match message.read::<Words>() {
                    Ok(words) => found = Some(sum(words)),
                    Err(error) => failure = Some(error.into()),
                },
                Event::Notice(notice) => failure = passed_over(notice).err(),
            });
            found.is_some() || failure.is_some()
        })?;
        failure.map_or(Ok(()), Err)?;
        let (expected, found) = (stream::checksum::<6>(number, 1), found.unwrap_or_default());
        if found == expected { Ok(()) } else { Err(BlockError::Corrupt { expected, found }) }
    }
}

impl RoundTrip for BusRoundTrip {
    #[inline(always)]
    fn round_trip(&mut self) -> Result<(), BlockError> {
        let number = self.publish()?;
        self.receive(number)
    }
}

impl Far for BusRoundTrip {
    fn block(&mut self, count: u64) -> Result<(), BlockError> {
        for _ in 0..count {
            self.receive(self.publisher.next_offset())?;
            self.publish()?;
        }
        Ok(())
    }
}
