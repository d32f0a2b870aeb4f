//! How the far side is run: a process or a thread of its own, pinned, and commanded block by block.
//!
//! Orders travel through a pipe, so between blocks the far side sleeps in the kernel and leaves its
//! core to others, and sees the end of the near side as the end of its input. That a block was
//! begun and finished is told by two words in shared memory, without a system call; what it found
//! comes back through a second pipe.
use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bare::Bare;
use crate::catalogue::{self, Entry};
use crate::clock::Clock;
use crate::cores;
use crate::crowd::Crowd;
use crate::ends::Far;
use crate::message::Payload;
use crate::shared::{self, Line};
use crate::spin::{PAUSING, STALL_TIMEOUT, spin_until};
use crate::task::{Order, Outcome};
use crate::transport::{Mode, Place, Run};

/// The hidden subcommand under which a binary plays the far side; [`play`] is what it does.
pub const FAR_SIDE_COMMAND: &str = "bench-far-side";

/// The control line has its neighbour to itself, too.
const CONTROL_LINES: usize = 2;

/// How long the far side may take to make its halves: a peer may have to start processes.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a far side that ends may take to say why.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// What a far side has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) place: Place,
    pub(crate) core: usize,
    pub(crate) clock: Clock,
    pub(crate) directory: PathBuf,
    pub(crate) bus: String,
    pub(crate) mode: Mode,
    /// What it serves; orders name these by their number, from 1. Number 0 is the bare machine.
    pub(crate) contenders: Vec<Contender>,
}

/// What is measured, as both sides know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// A transport of the catalogue.
    Transport {
        entry: String,
        /// Different for each contender of a run.
        name: String,
        payload: Payload,
    },
    /// Subscribers of one topic.
    Crowd(Crowd),
}

impl Spec {
    fn control(&self) -> PathBuf {
        self.directory.join(format!("{}.control", self.place.name()))
    }

    /// Makes the far halves, and serves orders until they end.
    fn serve(
        &self,
        run: &Run,
        catalogue: &[Entry],
        orders: impl Read,
        mut outcomes: impl Write,
    ) -> Result<()> {
        cores::pin(self.core)?;
        let progress = Progress::new(shared::open(&self.control())?);
        let mut fars: Vec<Result<Box<dyn Far>>> = vec![Ok(Box::new(Bare::open(run, self.place)?))];
        fars.extend(self.contenders.iter().map(|contender| contender.far(run, catalogue)));
        let failures: Failures = fars
            .iter()
            .enumerate()
            .filter_map(|(number, far)| Some((number, format!("{:#}", far.as_ref().err()?))))
            .collect();
        say(&mut outcomes, &failures)?;
        for line in BufReader::new(orders).lines() {
            let order: Order = serde_json::from_str(&line.context("cannot read orders")?)?;
            let Some(Ok(far)) = fars.get_mut(order.contender) else {
                bail!("there is no contender {}", order.contender)
            };
            let before = cores::preemptions()?;
            progress.begun.fetch_add(1, Ordering::Release);
            let outcome = far.run(&order.task, order.count, &self.clock);
            progress.finished.fetch_add(1, Ordering::Release);
            let preemptions = cores::preemptions()? - before;
            let failed = outcome.is_err();
            let outcome = outcome.map(|outcome| Outcome { preemptions, ..outcome });
            say(&mut outcomes, &outcome.map_err(|error| format!("{error:#}")))?;
            if failed {
                break;
            }
        }
        Ok(())
    }
}

/// The numbers of contenders whose far half could not be made, and why: the first thing that a far
/// side says.
type Failures = Vec<(usize, String)>;

/// Tells the other side something, in a line.
fn say(to: &mut impl Write, what: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line).context("the other side has ended")
}

impl Contender {
    fn far(&self, run: &Run, catalogue: &[Entry]) -> Result<Box<dyn Far>> {
        match self {
            Self::Transport { entry, name, payload } => {
                catalogue::find(catalogue, entry)?.far(run, name, *payload)
            }
            Self::Crowd(crowd) => crowd.far(run),
        }
    }
}

/// Plays the far side in a process that was started for it: serves orders from standard input, and
/// answers where standard output was. What a contender prints there goes to standard error.
///
/// # Errors
/// When a half cannot be made, or a block fails. The end of the near side is not an error.
pub fn play(spec: &str, catalogue: &[Entry]) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec)
        .context("this is for the benchmarks alone, which give it what it needs")?;
    let run = Run::new(spec.directory.clone(), spec.bus.clone(), spec.mode);
    let outcomes = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdout(io::stderr()).context("cannot put standard output aside")?;
    spec.serve(&run, catalogue, io::stdin().lock(), outcomes)
}

/// The words by which the far side tells where it is: how many blocks it began and finished.
#[derive(Clone, Copy)]
struct Progress {
    begun: &'static AtomicU64,
    finished: &'static AtomicU64,
}

impl Progress {
    fn new(control: &'static [Line]) -> Self {
        let [begun, finished, ..] = &control[0].words;
        Self { begun, finished }
    }
}

/// The near side's hold on a far side.
pub(crate) struct FarSide {
    progress: Progress,
    ordered: u64,
    orders: Option<File>,
    outcomes: BufReader<File>,
    runs_as: RunsAs,
}

enum RunsAs {
    Process(Child),
    Thread(Option<JoinHandle<Result<()>>>),
}

impl FarSide {
    /// Starts it, as a process of this binary or as a thread, and waits until it has made its
    /// halves. Returns which contenders have none, and why.
    ///
    /// # Errors
    /// When it cannot be started, or is not ready within a minute.
    pub(crate) fn start(
        spec: Spec,
        run: &Run,
        catalogue: &'static [Entry],
    ) -> Result<(Self, Failures)> {
        let progress = Progress::new(shared::create(&spec.control(), CONTROL_LINES)?);
        let (orders, outcomes, runs_as): (OwnedFd, OwnedFd, _) = match spec.place {
            Place::Ipc => {
                let mut child = start_process(&spec)?;
                let orders = child.stdin.take().context("the child has no standard input")?;
                let outcomes = child.stdout.take().context("the child has no standard output")?;
                (orders.into(), outcomes.into(), RunsAs::Process(child))
            }
            Place::InProcess => {
                let (far_orders, orders) = pipe()?;
                let (outcomes, far_outcomes) = pipe()?;
                let run = run.clone();
                let thread = thread::Builder::new()
                    .name("far-side".to_owned())
                    .spawn(move || spec.serve(&run, catalogue, far_orders, far_outcomes))
                    .context("cannot start a thread")?;
                (orders.into(), outcomes.into(), RunsAs::Thread(Some(thread)))
            }
        };
        let (orders, outcomes) = (Some(File::from(orders)), BufReader::new(File::from(outcomes)));
        let mut far = Self { progress, ordered: 0, orders, outcomes, runs_as };
        let failures = far.hear(SET_UP_TIMEOUT)?;
        Ok((far, failures))
    }

    /// What it says next, if it says something within `timeout`.
    fn hear<T: DeserializeOwned>(&mut self, timeout: Duration) -> Result<T> {
        // It says one thing at a time, so none that came before waits in the buffer.
        debug_assert!(self.outcomes.buffer().is_empty());
        let mut answer = [PollFd::new(self.outcomes.get_ref(), PollFlags::IN)];
        let limit = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: 0 };
        let ready = retry_on_intr(|| poll(&mut answer, Some(&limit)));
        let ready = ready.context("cannot wait for the far side")?;
        let limit_s = timeout.as_secs();
        ensure!(ready > 0, "the far side says nothing for {limit_s} s; leave peers out to see why");
        let mut line = String::new();
        let read = self.outcomes.read_line(&mut line).context("cannot read from the far side")?;
        ensure!(read > 0, self.why_it_ended());
        serde_json::from_str(&line).context("the far side says something else than it should")
    }

    /// Has it begin a block; returns once it is about to poll.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn begin(&mut self, order: &Order) -> Result<()> {
        if say(self.orders.as_mut().context("the far side was ended")?, order).is_err() {
            return Err(self.why_it_ended());
        }
        self.ordered += 1;
        let Progress { begun, .. } = self.progress;
        // Pairs with the release in `serve`.
        let began = spin_until::<PAUSING>(|| Ok(begun.load(Ordering::Acquire) == self.ordered));
        began.map_err(|error| if self.has_ended() { self.why_it_ended() } else { error })
    }

    /// Waits for the end of that block.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn finish(&mut self) -> Result<()> {
        // Pairs with the release in `serve`.
        let Progress { finished, .. } = self.progress;
        spin_until::<PAUSING>(|| Ok(finished.load(Ordering::Acquire) == self.ordered))
            .context("the far side did not finish its block")
    }

    /// What it found in that block.
    ///
    /// # Errors
    /// What went wrong there, also where the near side only saw that nothing came.
    pub(crate) fn outcome(&mut self) -> Result<Outcome> {
        let outcome: Result<Outcome, String> = self.hear(2 * STALL_TIMEOUT)?;
        outcome.map_err(|error| anyhow!("the far side: {error}"))
    }

    fn has_ended(&mut self) -> bool {
        match &mut self.runs_as {
            RunsAs::Process(child) => !matches!(child.try_wait(), Ok(None)),
            RunsAs::Thread(thread) => thread.as_ref().is_none_or(JoinHandle::is_finished),
        }
    }

    /// Of a far side that is about to end, or has. Waits a moment until it has told why itself.
    fn why_it_ended(&mut self) -> anyhow::Error {
        let reason = match &mut self.runs_as {
            RunsAs::Process(child) => {
                let start = Instant::now();
                while matches!(child.try_wait(), Ok(None)) && start.elapsed() < LAST_WORDS_TIMEOUT {
                    thread::sleep(Duration::from_millis(1));
                }
                None
            }
            RunsAs::Thread(thread) => thread.take().and_then(|thread| thread.join().ok()?.err()),
        };
        let told = || anyhow!("the far side has ended early; its own message is above");
        reason.map_or_else(told, |error| error.context("the far side has ended"))
    }
}

fn pipe() -> Result<(PipeReader, PipeWriter)> {
    io::pipe().context("cannot make a pipe")
}

/// Starts this binary again.
fn start_process(spec: &Spec) -> Result<Child> {
    let binary = env::current_exe().context("cannot find this binary to start it again")?;
    Command::new(&binary)
        .arg(FAR_SIDE_COMMAND)
        .arg(serde_json::to_string(spec)?)
        // An interrupt from the terminal is for the near side, which ends this one between blocks.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {} {FAR_SIDE_COMMAND}", binary.display()))
}

impl Drop for FarSide {
    fn drop(&mut self) {
        // The end of its orders is its end.
        self.orders = None;
        match &mut self.runs_as {
            RunsAs::Process(child) => {
                // It holds nothing worth a goodbye. Errors mean that it has ended already.
                let _ = child.kill();
                let _ = child.wait();
            }
            RunsAs::Thread(thread) => {
                let _ = thread.take().map(JoinHandle::join);
            }
        }
    }
}
