//! UDP through the loopback device, as programs use that were written for a network.
//!
//! Non-blocking ends that poll; the sender is connected, which saves it a look-up of the route for
//! each message. UDP drops what finds no room in the receiver's buffer (see udp(7)), so the
//! receiver counts what it has taken in a word of shared memory, and the sender sends no more than
//! surely fits: that is cheaper than any answer through a socket. Batches are sent by `sendmmsg`.
//!
//! What fits is less than others have, since the kernel counts its own structures: of messages of
//! 48 bytes some 5,000 where the buffer may be as large as is asked for, and 130 with the system's
//! usual limit (`net.core.rmem_max`); of 16 KiB 2 MiB, and 8 messages. A buffer of 128 MiB was no
//! faster.
use std::any::Any;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, socket_recv_buffer_size,
};
use tickcast_harness::message::Words;
use tickcast_harness::shared;
use tickcast_harness::spin::{PAUSING, spin_until};
use tickcast_harness::transport::{Link, Place, Receiver, Sender, Transport};
use zerocopy::IntoBytes;

use crate::datagrams::send_some;
use crate::nonblocking::unless_it_would_wait;

/// What the receiver asks for; the system gives as much of it as it allows.
const BUFFER_BYTES: usize = 8 << 20;

/// Of the two pairs of lines, the first has what is told once, the second what is told with each
/// message.
const LINES: usize = 4;
const TAKEN_LINE: usize = 2;

/// The socket.
pub struct UdpLoopback;

/// What both ends share.
#[derive(Clone, Copy)]
struct Told {
    /// Where the receiver is: nowhere yet if 0.
    port: &'static AtomicU64,
    /// How many messages may be under way.
    window: &'static AtomicU64,
    /// How many messages the receiver has taken.
    taken: &'static AtomicU64,
}

/// Its sending end.
pub struct UdpSender {
    socket: UdpSocket,
    told: Told,
    sent: u64,
    /// What `sent` may not reach.
    gate: u64,
}

/// Its receiving end.
pub struct UdpReceiver<const W: usize> {
    /// What came last.
    message: Words<W>,
    socket: UdpSocket,
    told: Told,
    taken: u64,
}

impl Told {
    fn open(link: &Link<'_>) -> Result<Self> {
        let lines = shared::open(&link.path("window"))?;
        let [port, window, ..] = &lines[0].words;
        Ok(Self { port, window, taken: &lines[TAKEN_LINE].words[0] })
    }
}

impl Transport for UdpLoopback {
    const NAME: &'static str = "udp loopback";
    const HOW: &'static str =
        "connected, polled; sendmmsg for batches; a window counted in shared memory";
    const PLACES: &'static [Place] = &[Place::Ipc];

    type Sender<const W: usize> = UdpSender;
    type Receiver<const W: usize> = UdpReceiver<W>;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        Ok(Box::new(shared::create(&link.path("window"), LINES)?))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<UdpSender> {
        let socket = bind()?;
        Ok(UdpSender { socket, told: Told::open(link)?, sent: 0, gate: 0 })
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<UdpReceiver<W>> {
        let (socket, told) = (bind()?, Told::open(link)?);
        // Beyond the system's limit where that is allowed.
        if set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
            set_socket_recv_buffer_size(&socket, BUFFER_BYTES)?;
        }
        let fits = socket_recv_buffer_size(&socket)? / most_bytes_held(size_of::<Words<W>>());
        let window = fits.clamp(1, link.slots());
        told.window.store(window as u64, Ordering::Relaxed);
        let port = socket.local_addr()?.port();
        // Pairs with the acquire load in `connect`.
        told.port.store(port.into(), Ordering::Release);
        Ok(UdpReceiver { message: [0; W], socket, told, taken: 0 })
    }
}

fn bind() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot make a socket")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// What a message takes of the receiver's buffer at most: the kernel counts its own structures, and
/// memory in powers of two, and gives a quarter of the buffer back late.
fn most_bytes_held(message_bytes: usize) -> usize {
    (message_bytes + 1024) * 3
}

impl UdpSender {
    /// Where the window ends now. Connects before the first message, when there is somebody to
    /// connect to.
    #[cold]
    fn open_window(&mut self) -> Result<()> {
        if self.gate == 0 {
            // Pairs with the release store in `receiver`.
            let port = self.told.port.load(Ordering::Acquire);
            if port == 0 {
                return Ok(());
            }
            self.socket.connect((Ipv4Addr::LOCALHOST, u16::try_from(port)?))?;
        }
        // Pairs with the release store in `poll`: what was taken has left the buffer.
        let taken = self.told.taken.load(Ordering::Acquire);
        self.gate = taken + self.told.window.load(Ordering::Relaxed);
        Ok(())
    }
}

impl<const W: usize> Sender<W> for UdpSender {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        if self.sent == self.gate {
            self.open_window()?;
            if self.sent == self.gate {
                return Ok(false);
            }
        }
        let sent = unless_it_would_wait(self.socket.send(message.as_bytes()));
        let is_sent = sent.context("cannot send a datagram")?.is_some();
        self.sent += u64::from(is_sent);
        Ok(is_sent)
    }

    #[inline]
    fn send_all(&mut self, mut messages: &[Words<W>]) -> Result<()> {
        spin_until::<PAUSING>(|| {
            if self.sent == self.gate {
                self.open_window()?;
            }
            let room = messages.len().min((self.gate - self.sent) as usize);
            let sent = send_some(&self.socket, &messages[..room])?;
            self.sent += sent as u64;
            messages = &messages[sent..];
            Ok(messages.is_empty())
        })
    }
}

impl<const W: usize> Receiver<W> for UdpReceiver<W> {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        for taken in 0..limit {
            let received = unless_it_would_wait(self.socket.recv(self.message.as_mut_bytes()));
            match received.context("cannot receive a datagram")? {
                Some(bytes) => ensure!(bytes == size_of_val(&self.message), "{bytes} bytes came"),
                None => return Ok(taken),
            }
            self.taken += 1;
            // Pairs with the acquire load in `open_window`.
            self.told.taken.store(self.taken, Ordering::Release);
            take(&self.message);
        }
        Ok(limit)
    }
}
