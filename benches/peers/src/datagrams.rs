//! Several datagrams to a system call: `sendmmsg`, see sendmmsg(2). Its counterpart `recvmmsg` is
//! not to be had without `unsafe` here.
use std::io::IoSlice;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use tickcast_harness::message::Words;
use zerocopy::IntoBytes;

use crate::nonblocking::unless_it_would_wait;

/// Most messages of a call: as many as come in a batch.
const MOST: usize = 16;

/// Sends the first of `messages` through a connected socket with one system call, as many as there
/// is room for; returns how many that were.
#[inline]
pub(crate) fn send_some<const W: usize>(socket: impl AsFd, messages: &[Words<W>]) -> Result<usize> {
    let count = messages.len().min(MOST);
    if count == 0 {
        return Ok(0);
    }
    let slices: [[IoSlice<'_>; 1]; MOST] = std::array::from_fn(|at| {
        let message = messages.get(at).map_or_else(Default::default, |message| message.as_bytes());
        [IoSlice::new(message)]
    });
    let mut controls: [SendAncillaryBuffer<'_, '_, '_>; MOST] = Default::default();
    let mut controls = controls.each_mut().into_iter().zip(&slices);
    let mut headers: [MMsgHdr<'_>; MOST] = std::array::from_fn(|_| {
        let (control, slices) = controls.next().expect("there are as many");
        MMsgHdr::new(slices, control)
    });
    let sent = sendmmsg(socket, &mut headers[..count], SendFlags::empty());
    let sent = unless_it_would_wait(sent.map_err(Into::into));
    Ok(sent.context("cannot send datagrams")?.unwrap_or(0))
}
