//! Datagrams through a Unix socket, which keep the bounds of messages and are never lost: see
//! unix(7).
//!
//! Non-blocking ends that poll, connected, with a large send buffer. How many datagrams can wait is
//! the system's `net.unix.max_dgram_qlen` and one more, 11 unless somebody changed it: no more than
//! that of the bytes that others have. One system call sends a message, or a batch of them, and one
//! receives a message. Waiting in the kernel was slower by the time it takes to wake up. Stream
//! sockets were a little faster in round trips, but know no messages: the pipe stands for what
//! knows none.
use std::any::Any;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_socket_send_buffer_size;
use tickcast_harness::message::Words;
use tickcast_harness::spin::{PAUSING, spin_until};
use tickcast_harness::transport::{Link, Place, RING_BYTES, Receiver, Sender, Transport};
use zerocopy::IntoBytes;

use crate::datagrams::send_some;
use crate::nonblocking::unless_it_would_wait;

/// The socket.
pub struct UnixDatagrams;

/// Its sending end.
pub struct DatagramSender {
    path: PathBuf,
    socket: UnixDatagram,
    is_connected: bool,
}

/// Its receiving end.
pub struct DatagramReceiver<const W: usize> {
    socket: UnixDatagram,
    /// What came last.
    message: Words<W>,
}

impl Transport for UnixDatagrams {
    const NAME: &'static str = "unix datagram";
    const HOW: &'static str = "connected, non-blocking, polled; sendmmsg for batches; few can wait";
    const PLACES: &'static [Place] = &[Place::Ipc];

    type Sender<const W: usize> = DatagramSender;
    type Receiver<const W: usize> = DatagramReceiver<W>;

    fn create<const W: usize>(_: &Link<'_>) -> Result<Box<dyn Any>> {
        Ok(Box::new(()))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<DatagramSender> {
        let socket = UnixDatagram::unbound().context("cannot make a socket")?;
        socket.set_nonblocking(true)?;
        // The system gives as much of it as it allows.
        set_socket_send_buffer_size(&socket, RING_BYTES)?;
        Ok(DatagramSender { path: link.path("socket"), socket, is_connected: false })
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<DatagramReceiver<W>> {
        let path = link.path("socket");
        let bound = UnixDatagram::bind(&path);
        let socket = bound.with_context(|| format!("cannot make {}", path.display()))?;
        socket.set_nonblocking(true)?;
        Ok(DatagramReceiver { socket, message: [0; W] })
    }
}

impl DatagramSender {
    /// For the first message: before, there may be nobody to connect to.
    #[cold]
    fn connect(&mut self) -> Result<()> {
        let connected = self.socket.connect(&self.path);
        connected.with_context(|| format!("cannot connect to {}", self.path.display()))?;
        self.is_connected = true;
        Ok(())
    }
}

impl<const W: usize> Sender<W> for DatagramSender {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        if !self.is_connected {
            self.connect()?;
        }
        let sent = unless_it_would_wait(self.socket.send(message.as_bytes()));
        Ok(sent.context("cannot send a datagram")?.is_some())
    }

    #[inline]
    fn send_all(&mut self, mut messages: &[Words<W>]) -> Result<()> {
        if !self.is_connected {
            self.connect()?;
        }
        spin_until::<PAUSING>(|| {
            messages = &messages[send_some(&self.socket, messages)?..];
            Ok(messages.is_empty())
        })
    }
}

impl<const W: usize> Receiver<W> for DatagramReceiver<W> {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        let Self { socket, message } = self;
        for taken in 0..limit {
            let received = unless_it_would_wait(socket.recv(message.as_mut_bytes()));
            match received.context("cannot receive a datagram")? {
                Some(bytes) => ensure!(bytes == size_of_val(message), "{bytes} bytes came"),
                None => return Ok(taken),
            }
            take(message);
        }
        Ok(limit)
    }
}
