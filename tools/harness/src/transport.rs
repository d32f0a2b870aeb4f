//! What can be measured: a transport carries messages one way between two ends. The patterns of
//! `ends` do the rest, so that every transport runs in the same loops. A new
//! contender is a type that implements [`Transport`].
use std::any::Any;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cores::Cores;
use crate::message::{Payload, Words};
use crate::spin::{PAUSING, spin_until};

/// Bytes of the ring that every contender gets, or of what it has in its place: 2 MiB. A ring that
/// fits the second-level cache is three times slower, since each slot to be written again must then
/// be fetched from the reader's cache.
pub const RING_BYTES: usize = 2 << 20;

/// The sending end of a link.
pub trait Sender<const W: usize> {
    /// Sends a message, unless there is no room now: then it says false, and is tried again.
    ///
    /// # Errors
    /// When it can never be sent.
    fn try_send(&mut self, message: &Words<W>) -> Result<bool>;

    /// Sends a message, waiting for room where there is none.
    ///
    /// # Errors
    /// When it cannot be sent, or no room comes for seconds.
    #[inline(always)]
    fn send(&mut self, message: &Words<W>) -> Result<()> {
        if self.try_send(message)? {
            return Ok(());
        }
        spin_until::<PAUSING>(|| self.try_send(message))
    }

    /// Sends all of `messages` in the transport's own way for several at once, waiting for room
    /// where there is none. By default it has none.
    ///
    /// # Errors
    /// When they cannot be sent, or no room comes for seconds.
    fn send_all(&mut self, messages: &[Words<W>]) -> Result<()> {
        messages.iter().try_for_each(|message| self.send(message))
    }
}

/// The receiving end of a link.
pub trait Receiver<const W: usize> {
    /// Hands up to `limit` messages that have come to `take`; returns how many came. Never waits.
    ///
    /// # Errors
    /// When the link is broken.
    fn poll(&mut self, limit: usize, take: impl FnMut(&Words<W>)) -> Result<usize>;

    /// How many of the messages that [`poll`](Self::poll) counted so far were lost, and not handed
    /// out.
    fn lost(&self) -> u64 {
        0
    }
}

/// Where the two ends of a link can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Two threads of one process.
    InProcess,
    /// Two processes.
    Ipc,
}

impl Place {
    /// As it stands in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Ipc => "ipc",
        }
    }
}

/// What carries messages one way between two ends.
pub trait Transport: 'static {
    /// Its name in tables and on the command line.
    const NAME: &'static str;
    /// How it is used here: its fastest documented way, in a few words.
    const HOW: &'static str;
    /// Where its ends can be.
    const PLACES: &'static [Place];
    /// Whether it loses nothing where several messages are under way. Of others only round trips
    /// one by one are measured.
    const STREAMS: bool = true;

    /// The sending end for payloads of `W` words.
    type Sender<const W: usize>: Sender<W>;
    /// The receiving end for payloads of `W` words.
    type Receiver<const W: usize>: Receiver<W>;

    /// Makes what both ends of `link` need. Called once for each link, on the near side, before any
    /// end is opened. What it returns is kept until the end of the run.
    ///
    /// # Errors
    /// When it cannot be had on this machine.
    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>>;

    /// Opens the sending end, on either side and in the thread that will use it. The receiving end
    /// may not be there yet; it is when the first message is sent.
    ///
    /// # Errors
    /// When what [`create`](Self::create) made is gone.
    fn sender<const W: usize>(link: &Link<'_>) -> Result<Self::Sender<W>>;

    /// Opens the receiving end, on either side and in the thread that will use it.
    ///
    /// # Errors
    /// When what [`create`](Self::create) made is gone.
    fn receiver<const W: usize>(link: &Link<'_>) -> Result<Self::Receiver<W>>;

    /// Called on the near side before each of its blocks: who helps it, as a process of its own
    /// does, is at work when this returns. Before the first block it is, too.
    ///
    /// # Errors
    /// When the helper is gone.
    fn wake(_: &Run) -> Result<()> {
        Ok(())
    }

    /// Called on the near side after each of its blocks: who helps it leaves the cores to those who
    /// are measured next.
    ///
    /// # Errors
    /// When the helper is gone.
    fn rest(_: &Run) -> Result<()> {
        Ok(())
    }
}

/// Whether the bus's subscribers are waited for, or may be overrun and read validated copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    // No documentation: clap would print a paragraph for each.
    #[allow(missing_docs)]
    Reliable,
    #[allow(missing_docs)]
    Lossy,
}

impl Mode {
    /// As it stands in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reliable => "reliable",
            Self::Lossy => "lossy",
        }
    }
}

/// What both sides of a run know.
#[derive(Debug, Clone)]
pub struct Run {
    /// A directory in shared memory, private to this user and removed after the run.
    pub directory: PathBuf,
    /// The name of a bus that is removed after the run.
    pub bus: String,
    /// How the bus's subscribers read.
    pub mode: Mode,
    /// The cores that are measured, where they are known: whatever a contender starts on its own
    /// keeps off them if there are others.
    pub cores: Option<Cores>,
    deposit: Deposit,
}

/// Ends of links that cannot leave their process, on the way from one thread to another.
type Deposit = Arc<Mutex<HashMap<String, Box<dyn Any + Send>>>>;

impl Run {
    /// A run whose ends are in `directory`, and on the bus of this name.
    pub fn new(directory: PathBuf, bus: String, mode: Mode) -> Self {
        Self { directory, bus, mode, cores: None, deposit: Deposit::default() }
    }

    /// The same run, measured on these cores.
    pub fn on(self, cores: Cores) -> Self {
        Self { cores: Some(cores), ..self }
    }
}

/// One link of a run.
#[derive(Debug, Clone)]
pub struct Link<'a> {
    /// What both sides know.
    pub run: &'a Run,
    /// Its name, of letters, digits and `-`, different from that of every other link of the run.
    pub name: String,
    /// What it carries.
    pub payload: Payload,
}

impl Link<'_> {
    /// A path in the run's directory for what belongs to this link.
    pub fn path(&self, extension: &str) -> PathBuf {
        self.run.directory.join(format!("{}.{extension}", self.name))
    }

    /// How many payloads fill [`RING_BYTES`]: what a ring of plain payloads has slots for.
    pub fn slots(&self) -> usize {
        RING_BYTES / self.payload.bytes()
    }

    /// How many messages tickcast's ring holds, which has headers; of those with smaller ones, or
    /// none, it is a lower bound.
    pub fn capacity(&self) -> usize {
        self.payload.capacity(RING_BYTES)
    }

    /// Leaves an end for the thread that will use it: what [`take`](Self::take) finds under the
    /// same `key`.
    pub fn leave<E: Send + 'static>(&self, key: &str, end: E) {
        let mut deposit = self.run.deposit.lock().unwrap_or_else(PoisonError::into_inner);
        deposit.insert(format!("{}.{key}", self.name), Box::new(end));
    }

    /// Takes an end that was left in this process.
    ///
    /// # Errors
    /// When there is none.
    pub fn take<E: 'static>(&self, key: &str) -> Result<E> {
        let mut deposit = self.run.deposit.lock().unwrap_or_else(PoisonError::into_inner);
        let end = deposit.remove(&format!("{}.{key}", self.name));
        let end = end.and_then(|end| end.downcast().ok().map(|end| *end));
        end.with_context(|| format!("nobody left the {key} of {} in this process", self.name))
    }
}
