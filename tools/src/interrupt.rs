//! Ctrl-C, for what reads and writes: an input that does not sleep through it. What it is that ends
//! a command is said in [`Interrupt`].

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
pub(crate) use tickcast_harness::interrupt::{Interrupt, Interrupted};

/// How often the flag is looked at while nothing else happens.
pub(crate) const LOOK_AT_LEAST_EVERY: Duration = Duration::from_millis(100);

/// Standard input, which fails once the user wants an end.
///
/// # Errors
/// When it cannot be had.
pub(crate) fn stdin(interrupt: &Interrupt) -> Result<impl Read + 'static> {
    let stdin = io::stdin().as_fd().try_clone_to_owned().context("no standard input")?;
    Ok(Interruptible { file: stdin.into(), interrupt: interrupt.clone() })
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
