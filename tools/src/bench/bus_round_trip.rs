//! A round trip over the bus: two topics, a publisher and a reliable subscriber of each, one pair
//! in either process.
use std::cell::RefCell;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use tickcast::{Bus, Event, Message, Publisher, Subscriber};

use super::block::RoundTrip;
use super::peer::Far;
use super::spin::{BlockError, spin_until};
use super::stream;
use super::temporary_bus::{TemporaryBus, Words, passed_over, sum};

const PING: &str = "ping";
const PONG: &str = "pong";

/// Either half: what it publishes, and what it waits for.
pub(crate) struct Ends {
    publisher: Publisher,
    subscriber: Subscriber,
}

impl Ends {
    /// Makes the topics, and the half that asks.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn near(bus: &TemporaryBus) -> Result<SharedEnds> {
        let (ping, pong) = (bus.create_topic(PING)?, bus.create_topic(PONG)?);
        let subscriber = pong.subscribe().reliable().open().context("cannot subscribe to pong")?;
        let publisher = ping.publisher(0).context("cannot publish to ping")?;
        Ok(Rc::new(RefCell::new(Self { publisher, subscriber })))
    }

    /// The half that answers.
    ///
    /// # Errors
    /// When the other half is gone.
    pub(crate) fn far(bus: &Bus) -> Result<SharedEnds> {
        let (ping, pong) = (bus.open_topic(PING)?, bus.open_topic(PONG)?);
        let subscriber = ping.subscribe().reliable().open().context("cannot subscribe to ping")?;
        let publisher = pong.publisher(0).context("cannot publish to pong")?;
        Ok(Rc::new(RefCell::new(Self { publisher, subscriber })))
    }
}

/// Publishes the message of the next number, which is the publisher's next offset.
#[inline(always)]
fn publish(publisher: &mut Publisher) -> Result<u64> {
    let number = publisher.next_offset();
    let message: Words = stream::message(number);
    Ok(publisher.publish(number, &message)?)
}

/// Waits for the message of number `number`, and does `then` in the handler that gets it.
#[inline(always)]
fn receive<const PAUSES: u32>(
    subscriber: &mut Subscriber,
    number: u64,
    mut then: impl FnMut() -> Result<()>,
) -> Result<()> {
    let expected = stream::checksum::<6>(number, 1);
    let mut outcome = None;
    spin_until::<PAUSES>(|| {
        subscriber.poll(1, |event| match event {
            Event::Message(message) => {
                outcome = Some(check(&message, expected).and_then(|()| then()));
            }
            Event::Notice(notice) => outcome = passed_over(notice).err().map(Err),
        });
        outcome.is_some()
    })?;
    outcome.unwrap_or(Ok(()))
}

/// Looks at every word of the message.
#[inline(always)]
fn check(message: &Message<'_>, expected: u64) -> Result<()> {
    let found = sum(message.read::<Words>()?);
    ensure!(found == expected, BlockError::Corrupt { expected, found });
    Ok(())
}

/// The ends of one process, as the variants take turns with them.
pub(crate) type SharedEnds = Rc<RefCell<Ends>>;

/// Either half, with `PAUSES` pause instructions after an empty poll.
pub(crate) struct BusRoundTrip<const PAUSES: u32>(pub(crate) SharedEnds);

impl<const PAUSES: u32> RoundTrip for BusRoundTrip<PAUSES> {
    #[inline(always)]
    fn round_trip(&mut self) -> Result<()> {
        let Ends { publisher, subscriber } = &mut *self.0.borrow_mut();
        let number = publish(publisher)?;
        receive::<PAUSES>(subscriber, number, || Ok(()))
    }
}

impl<const PAUSES: u32> Far for BusRoundTrip<PAUSES> {
    fn block(&mut self, count: u64) -> Result<()> {
        let Ends { publisher, subscriber } = &mut *self.0.borrow_mut();
        for _ in 0..count {
            let number = publisher.next_offset();
            // Answered where a trading engine answers: in the handler.
            receive::<PAUSES>(subscriber, number, || publish(publisher).map(drop))?;
        }
        Ok(())
    }
}
