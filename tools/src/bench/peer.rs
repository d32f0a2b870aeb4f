//! How the other side of a contender is run: as a child process, commanded block by block.
//!
//! A command travels through the child's standard input, so between blocks the child sleeps in the
//! kernel and leaves its core to others, and sees the end of its parent as the end of the input.
//! That a block was begun and finished is told by two words in shared memory, without a system
//! call.
use std::env;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

use super::shared::Line;
use super::spin::spin_until;

/// The hidden subcommand under which the binary plays the far side.
pub(crate) const PEER_COMMAND: &str = "bench-peer";

/// The far half of a contender: what the child does during one block.
pub(crate) trait Far {
    /// Takes `count` messages, and answers each where the contender is a round trip.
    ///
    /// # Errors
    /// When the near half stops sending, or sent something else than it should.
    fn block(&mut self, count: u64) -> Result<()>;
}

/// The near side's hold on wherever a contender's far half runs.
pub(crate) trait Counterpart {
    /// Has the far half begin a block of `count` messages; returns once it is about to poll.
    ///
    /// # Errors
    /// When the far side is gone.
    fn start(&mut self, count: u64) -> Result<()>;

    /// Waits until the far half has finished its block.
    ///
    /// # Errors
    /// When the far side is gone, or failed.
    fn finish(&mut self) -> Result<()>;
}

/// The words by which the far side tells where it is: the ordinal number of the last block that it
/// began, and of the last that it finished.
#[derive(Clone, Copy)]
struct Progress<'a> {
    begun: &'a AtomicU64,
    finished: &'a AtomicU64,
}

impl<'a> Progress<'a> {
    fn new(control: &'a Line) -> Self {
        let [begun, finished, ..] = &control.words;
        Self { begun, finished }
    }
}

/// One order to the far side, as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Order {
    block: u64,
    role: u64,
    count: u64,
}

const ORDER_BYTES: usize = 24;

impl Order {
    fn encode(self) -> [u8; ORDER_BYTES] {
        let mut bytes = [0; ORDER_BYTES];
        for (field, value) in bytes.chunks_exact_mut(8).zip([self.block, self.role, self.count]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: [u8; ORDER_BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let [block, role, count] = [0, 1, 2].map(|at| u64::from_le_bytes(words[at]));
        Self { block, role, count }
    }
}

/// The near end of the line of command. `role` is the index of a far half in the list that the
/// child serves.
struct Orders<'a, W> {
    progress: Progress<'a>,
    writer: W,
}

impl<W: Write> Orders<'_, W> {
    fn start(&mut self, role: usize, count: u64) -> Result<()> {
        let block = self.progress.begun.load(Ordering::Relaxed) + 1;
        let order = Order { block, role: role as u64, count };
        self.writer.write_all(&order.encode()).context("the far side has ended")?;
        // Pairs with the release store of `begun` in `serve`.
        spin_until::<1>(|| self.progress.begun.load(Ordering::Acquire) == block)
            .context("the far side did not begin its block")
    }

    fn finish(&mut self) -> Result<()> {
        let block = self.progress.begun.load(Ordering::Relaxed);
        // Pairs with the release store of `finished` in `serve`.
        spin_until::<1>(|| self.progress.finished.load(Ordering::Acquire) == block)
            .context("the far side did not finish its block")
    }
}

/// Serves orders until they end, which they do when the near side drops them or dies.
///
/// # Errors
/// When a block fails, or an order names a far half that does not exist.
pub(crate) fn serve(
    mut orders: impl Read,
    control: &Line,
    fars: &mut [Box<dyn Far + '_>],
) -> Result<()> {
    let progress = Progress::new(control);
    let mut bytes = [0; ORDER_BYTES];
    loop {
        match orders.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(other) => return Err(other).context("cannot read orders"),
        }
        let order = Order::decode(bytes);
        let far = usize::try_from(order.role).ok().and_then(|role| fars.get_mut(role));
        let far = far.with_context(|| format!("there is no far half number {}", order.role))?;
        progress.begun.store(order.block, Ordering::Release);
        far.block(order.count)?;
        progress.finished.store(order.block, Ordering::Release);
    }
}

/// A child process that plays far halves, pinned to a core of its own.
pub(crate) struct Peer<'a> {
    child: Child,
    orders: Orders<'a, ChildStdin>,
}

impl<'a> Peer<'a> {
    /// Starts this binary again as `bench-peer <core> <shared>`. The child tells by its
    /// first block that it got there.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub(crate) fn start(core: usize, shared: &Path, control: &'a Line) -> Result<Self> {
        let binary = env::current_exe().context("cannot find this binary to start it again")?;
        let mut child = Command::new(&binary)
            .arg(PEER_COMMAND)
            .arg(core.to_string())
            .arg(shared)
            // An interrupt from the terminal is for the parent, which ends this one between blocks.
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {} {PEER_COMMAND}", binary.display()))?;
        let writer = child.stdin.take().context("the child has no standard input")?;
        let orders = Orders { progress: Progress::new(control), writer };
        Ok(Self { child, orders })
    }

    /// Has the child begin a block of far half number `role`.
    pub(crate) fn begin(&mut self, role: usize, count: u64) -> Result<()> {
        self.alive()?;
        self.orders.start(role, count)
    }

    /// Waits for the end of that block.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.orders.finish()
    }

    /// The child's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn alive(&mut self) -> Result<()> {
        let status = self.child.try_wait().context("cannot ask after the child")?;
        ensure!(status.is_none(), "the child has ended early; its own message is above");
        Ok(())
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        // It holds nothing worth a goodbye. Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    struct Count<'a>(&'a AtomicU64);

    impl Far for Count<'_> {
        fn block(&mut self, count: u64) -> Result<()> {
            self.0.fetch_add(count, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn orders_reach_the_far_half_that_they_name_until_they_end() {
        let (control, first, second) = (Line::default(), AtomicU64::new(0), AtomicU64::new(0));
        let (reader, writer) = io::pipe().unwrap();
        thread::scope(|scope| {
            let far = scope.spawn(|| {
                serve(reader, &control, &mut [Box::new(Count(&first)), Box::new(Count(&second))])
            });
            let mut orders = Orders { progress: Progress::new(&control), writer };
            for (role, count) in [(0, 10), (1, 1), (0, 20)] {
                orders.start(role, count).unwrap();
                orders.finish().unwrap();
            }
            drop(orders);
            far.join().unwrap().unwrap();
        });
        assert_eq!((first.into_inner(), second.into_inner()), (30, 1));
    }

    #[test]
    fn an_unknown_far_half_is_an_error() {
        let order = Order { block: 1, role: 3, count: 0 };
        let error = serve(&order.encode()[..], &Line::default(), &mut []).unwrap_err();
        assert!(error.to_string().contains("number 3"), "{error}");
    }
}
