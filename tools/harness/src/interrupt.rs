//! Ctrl-C: a flag that is looked at between blocks. Change here which signals are a wish to end.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use thiserror::Error;

/// Signals that are no further apart are one.
const SAME_WISH: Duration = Duration::from_millis(100);

/// The user wanted an end before there was a result.
#[derive(Debug, Clone, Copy, Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Whether the user wants an end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes Ctrl-C (SIGINT) and SIGTERM as a wish to end. A second one ends at once, in case that
    /// whoever reads the output has stopped doing so, unless it follows so closely that it is the
    /// same wish: timeout(1) tells a process, and then its group.
    ///
    /// # Errors
    /// When the signals cannot be taken.
    pub fn install() -> Result<Self> {
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

    /// Whether there is such a wish.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on unless the user wants an end.
    ///
    /// # Errors
    /// When there is such a wish.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_raised() { Err(Interrupted) } else { Ok(()) }
    }
}
