//! crossbeam-channel, the channel that many Rust programs pass messages between threads with.
//!
//! Bounded, which is its array flavour, by value, and polled with `try_recv`: that never parks a
//! thread, as `recv` does after a while. It takes any number of senders and receivers, and has no
//! interface for several messages at once. The bound is of 2 MiB of payloads; one of a few messages
//! was slower in streams.
use std::any::Any;

use anyhow::{Result, bail};
use crossbeam_channel::{TryRecvError, TrySendError, bounded};
use tickcast_harness::message::Words;
use tickcast_harness::transport::{Link, Place, Receiver, Sender, Transport};

/// The channel.
pub struct CrossbeamChannel;

/// Its sending half.
pub struct ChannelSender<const W: usize>(crossbeam_channel::Sender<Words<W>>);

/// Its receiving half.
pub struct ChannelReceiver<const W: usize>(crossbeam_channel::Receiver<Words<W>>);

impl Transport for CrossbeamChannel {
    const NAME: &'static str = "crossbeam-channel";
    const HOW: &'static str = "bounded, by value; try_send and try_recv";
    const PLACES: &'static [Place] = &[Place::InProcess];

    type Sender<const W: usize> = ChannelSender<W>;
    type Receiver<const W: usize> = ChannelReceiver<W>;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        let (sender, receiver) = bounded::<Words<W>>(link.slots());
        link.leave("sender", sender);
        link.leave("receiver", receiver);
        Ok(Box::new(()))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<ChannelSender<W>> {
        link.take("sender").map(ChannelSender)
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<ChannelReceiver<W>> {
        link.take("receiver").map(ChannelReceiver)
    }
}

impl<const W: usize> Sender<W> for ChannelSender<W> {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        match self.0.try_send(*message) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => bail!("the channel's receiver is gone"),
        }
    }
}

impl<const W: usize> Receiver<W> for ChannelReceiver<W> {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        for taken in 0..limit {
            match self.0.try_recv() {
                Ok(message) => take(&message),
                Err(TryRecvError::Empty) => return Ok(taken),
                Err(TryRecvError::Disconnected) => bail!("the channel's sender is gone"),
            }
        }
        Ok(limit)
    }
}
