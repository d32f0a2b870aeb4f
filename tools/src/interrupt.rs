//! Ctrl-C: a flag that is looked at between messages, and an input that does not sleep through it.
//! Change here which signals are a wish to end.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use thiserror::Error;

/// How often the flag is looked at while nothing else happens.
pub(crate) const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(100);

/// Signals that are no further apart are one.
const SAME_WISH: Duration = Duration::from_millis(100);

/// The user wanted an end before there was a result.
#[derive(Debug, Clone, Copy, Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Whether the user wants an end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes Ctrl-C (SIGINT) and SIGTERM as a wish to end. A second one ends at once, in case that
    /// whoever reads the output has stopped doing so, unless it follows so closely that it is the
    /// same wish: timeout(1) tells a process, and then its group.
    ///
    /// # Errors
    /// When the signals cannot be taken.
    pub(crate) fn install() -> Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot take Ctrl-C")?;
        let interrupt = Self::default();
        let raised = interrupt.0.clone();
        let take = move || {
            let mut first = None;
            for signal in signals.forever() {
                raised.store(true, Ordering::Relaxed);
                if first.get_or_insert_with(Instant::now).elapsed() > SAME_WISH {
                    low_level::exit(128 + signal);
                }
            }
        };
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(take);
        thread.context("cannot take Ctrl-C")?;
        Ok(interrupt)
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on unless the user wants an end.
    ///
    /// # Errors
    /// When there is such a wish.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        if self.is_raised() { Err(Interrupted) } else { Ok(()) }
    }

    /// Standard input, which fails once the user wants an end.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(crate) fn stdin(&self) -> Result<impl Read + 'static> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().context("no standard input")?;
        Ok(Interruptible { file: stdin.into(), interrupt: self.clone() })
    }
}

struct Interruptible {
    file: File,
    interrupt: Interrupt,
}

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.interrupt.is_raised() {
                // Not of the kind `Interrupted`, after which readers try again.
                return Err(io::Error::other("interrupted"));
            }
            if has_event(&self.file, PollFlags::IN, LOOK_AT_LEAST_EVERY)? {
                return self.file.read(buffer);
            }
        }
    }
}

/// Whether nobody can read `output` any more.
pub(crate) fn is_abandoned(output: &impl AsFd) -> bool {
    has_event(output, PollFlags::empty(), Duration::ZERO).unwrap_or(false)
}

/// Whether one of `wanted`, an error or a hang-up came within `timeout`.
fn has_event(file: &impl AsFd, wanted: PollFlags, timeout: Duration) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
    match poll(&mut [PollFd::new(file, wanted)], Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
