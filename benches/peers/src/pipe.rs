//! A named pipe, as shells use them, between two processes that poll it.
//!
//! Non-blocking, as large as everybody's ring where that is allowed, or else as an unprivileged
//! user may make it: half of that (`F_SETPIPE_SZ`, see pipe(7)). A write hands over as many
//! messages as there are, and a read takes as many as have come. Writes of up to 4 KiB are all or
//! nothing; larger ones go on where they stopped. Waiting in the kernel was slower by the time it
//! takes to wake up. `vmsplice` only saves the copy of what is not written again, and these
//! messages are.
use std::any::Any;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use rustix::pipe::fcntl_setpipe_size;
use tickcast_harness::message::Words;
use tickcast_harness::spin::{PAUSING, spin_until};
use tickcast_harness::transport::{Link, Place, RING_BYTES, Receiver, Sender, Transport};
use zerocopy::IntoBytes;

use crate::nonblocking::unless_it_would_wait;

/// What an unprivileged user may ask for.
const UNPRIVILEGED_BYTES: usize = 1 << 20;
/// What a read asks for.
const READ_BYTES: usize = 64 << 10;

/// The pipe.
pub struct Pipe;

/// Its writing end.
pub struct PipeSender {
    path: PathBuf,
    /// Opened for the first message: without a reader it could not be.
    pipe: Option<File>,
    /// Bytes of the message that is being sent that were written.
    written: usize,
}

/// Its reading end.
pub struct PipeReceiver<const W: usize> {
    pipe: File,
    read: Vec<Words<W>>,
    /// Bytes of `read` that were filled.
    filled: usize,
    /// Messages of them that were handed out.
    taken: usize,
}

impl Transport for Pipe {
    const NAME: &'static str = "pipe";
    const HOW: &'static str =
        "named pipe of 1 or 2 MiB, non-blocking; many messages to a system call";
    const PLACES: &'static [Place] = &[Place::Ipc];

    type Sender<const W: usize> = PipeSender;
    type Receiver<const W: usize> = PipeReceiver<W>;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        let path = link.path("pipe");
        let made = mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR);
        made.with_context(|| format!("cannot make the pipe {}", path.display()))?;
        Ok(Box::new(()))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<PipeSender> {
        Ok(PipeSender { path: link.path("pipe"), pipe: None, written: 0 })
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<PipeReceiver<W>> {
        let pipe = open(&link.path("pipe"), OpenOptions::new().read(true))?;
        fcntl_setpipe_size(&pipe, RING_BYTES)
            .or_else(|_| fcntl_setpipe_size(&pipe, UNPRIVILEGED_BYTES))
            .context("cannot make a pipe of 1 MiB; see /proc/sys/fs/pipe-max-size")?;
        let read = vec![[0; W]; READ_BYTES.div_ceil(W * size_of::<u64>())];
        Ok(PipeReceiver { pipe, read, filled: 0, taken: 0 })
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> Result<File> {
    let pipe = options.custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    pipe.with_context(|| {
        format!("cannot open the pipe {}; is the other side gone?", path.display())
    })
}

impl PipeSender {
    /// Writes as much as there is room for; returns how much that was.
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut pipe = match &self.pipe {
            Some(pipe) => pipe,
            None => self.pipe.insert(open(&self.path, OpenOptions::new().write(true))?),
        };
        let written = unless_it_would_wait(pipe.write(bytes)).context("cannot write to a pipe")?;
        Ok(written.unwrap_or(0))
    }
}

impl<const W: usize> Sender<W> for PipeSender {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        self.written += self.write(&message.as_bytes()[self.written..])?;
        let is_sent = self.written == size_of_val(message);
        if is_sent {
            self.written = 0;
        }
        Ok(is_sent)
    }

    #[inline]
    fn send_all(&mut self, messages: &[Words<W>]) -> Result<()> {
        let mut bytes = messages.as_bytes();
        spin_until::<PAUSING>(|| {
            bytes = &bytes[self.write(bytes)?..];
            Ok(bytes.is_empty())
        })
    }
}

impl<const W: usize> Receiver<W> for PipeReceiver<W> {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        let message_bytes = W * size_of::<u64>();
        if self.taken == self.filled / message_bytes {
            // What has come of a message moves to the front.
            self.read.as_mut_bytes().copy_within(self.taken * message_bytes..self.filled, 0);
            self.filled -= self.taken * message_bytes;
            self.taken = 0;
            // Nothing is read where no writer has come yet, too.
            let read = self.pipe.read(&mut self.read.as_mut_bytes()[self.filled..]);
            let read = unless_it_would_wait(read).context("cannot read from a pipe")?;
            self.filled += read.unwrap_or(0);
        }
        let come = self.filled / message_bytes - self.taken;
        let count = come.min(limit);
        self.read[self.taken..self.taken + count].iter().for_each(&mut take);
        self.taken += count;
        Ok(count)
    }
}
