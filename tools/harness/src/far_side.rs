//! How the far side is run: a process or a thread of its own, pinned, and commanded block by block.
//!
//! Orders travel through a pipe, so between blocks the far side sleeps in the kernel and leaves its
//! core to others, and sees the end of the near side as the end of its input. That a block was
//! begun and finished is told by two words in shared memory, without a system call; what it found
//! comes back through a second pipe.
use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::answers::{Answers, put_stdout_aside, say};
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

/// How long it may take to finish a block that got nowhere, and to end: it gives up a block after
/// half of that.
const END_TIMEOUT: Duration = STALL_TIMEOUT.saturating_mul(2);

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
        for contender in &self.contenders {
            progress.at.store(fars.len() as u64, Ordering::Relaxed);
            fars.push(contender.far(run, catalogue));
        }
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
            progress.at.store(order.contender as u64, Ordering::Relaxed);
            let before = cores::preemptions()?;
            progress.begun.fetch_add(1, Ordering::Release);
            let outcome = far.run(&order.task, order.count, &self.clock);
            progress.finished.fetch_add(1, Ordering::Release);
            let preemptions = cores::preemptions()? - before;
            let outcome = outcome.map(|outcome| Outcome { preemptions, ..outcome });
            // Whether the run goes on without who failed is for the near side to say.
            say(&mut outcomes, &outcome.map_err(|error| format!("{error:#}")))?;
        }
        Ok(())
    }
}

/// The numbers of contenders whose far half could not be made, and why: the first thing that a far
/// side says.
type Failures = Vec<(usize, String)>;

impl Contender {
    fn far(&self, run: &Run, catalogue: &[Entry]) -> Result<Box<dyn Far>> {
        match self {
            Self::Transport { entry, name, payload } => {
                catalogue::find(catalogue, entry)?.far(run, name, *payload)
            }
            Self::Crowd(crowd) => crowd.far(run),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Transport { name, payload, .. } => format!("{name}, {payload}"),
            Self::Crowd(crowd) => crowd.describe(),
        }
    }
}

/// Plays the far side in a process that was started for it: serves orders from standard input, and
/// answers where standard output was. What a contender prints there goes to standard error.
///
/// # Errors
/// When it cannot start. What fails in a block is told to the near side, whose end is not an error.
pub fn play(spec: &str, catalogue: &[Entry]) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec)
        .context("this is for the benchmarks alone, which give it what it needs")?;
    let run = Run::new(spec.directory.clone(), spec.bus.clone(), spec.mode);
    spec.serve(&run, catalogue, io::stdin().lock(), put_stdout_aside()?)
}

/// The words by which the far side tells where it is: how many blocks it began and finished, and
/// whom it opens or serves, or served last.
#[derive(Clone, Copy)]
struct Progress {
    begun: &'static AtomicU64,
    finished: &'static AtomicU64,
    at: &'static AtomicU64,
}

impl Progress {
    fn new(control: &'static [Line]) -> Self {
        let [begun, finished, at, ..] = &control[0].words;
        Self { begun, finished, at }
    }
}

/// The near side's hold on a far side.
pub(crate) struct FarSide {
    progress: Progress,
    ordered: u64,
    orders: Option<File>,
    outcomes: Answers,
    runs_as: RunsAs,
    /// Of its contenders, by their numbers.
    names: Vec<String>,
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
        let names = spec.contenders.iter().map(Contender::describe);
        let names = ["the bare machine".to_owned()].into_iter().chain(names).collect();
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
        let (orders, outcomes) = (Some(File::from(orders)), Answers::of(outcomes));
        let mut far = Self { progress, ordered: 0, orders, outcomes, runs_as, names };
        let failures = far.hear(SET_UP_TIMEOUT);
        let failures =
            failures.with_context(|| format!("cannot make the far half of {}", far.is_at()))?;
        Ok((far, failures))
    }

    /// What it says next, if it says something within `timeout`.
    fn hear<T: DeserializeOwned>(&mut self, timeout: Duration) -> Result<T> {
        let answer = self.outcomes.hear(timeout).context("the far side")?;
        answer.ok_or_else(|| self.why_it_ended())
    }

    /// Whom it opens or serves, or served last.
    fn is_at(&self) -> &str {
        let at = self.progress.at.load(Ordering::Relaxed) as usize;
        self.names.get(at).map_or("nobody whom it knows", String::as_str)
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
            .context("the far side did not finish its block; leave peers out to see why")
    }

    /// What it found in that block, or what went wrong there; then it is ready for another one.
    ///
    /// # Errors
    /// When it is gone, or does not come back from that block.
    pub(crate) fn outcome(&mut self) -> Result<Result<Outcome>> {
        let outcome: Result<Outcome, String> = self.hear(END_TIMEOUT)?;
        Ok(outcome.map_err(|error| anyhow!("the far side: {error}")))
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
            RunsAs::Thread(thread) => {
                thread.take().and_then(|thread| join(thread, LAST_WORDS_TIMEOUT)?.ok()?.err())
            }
        };
        let told = || anyhow!("the far side has ended early; its own message is above");
        reason.map_or_else(told, |error| error.context("the far side has ended"))
    }
}

/// What a thread came to, if it ends within `timeout`. One that does not is left to itself: nobody
/// can end it, and the process's end is its end.
fn join<T>(thread: JoinHandle<T>, timeout: Duration) -> Option<thread::Result<T>> {
    let start = Instant::now();
    while !thread.is_finished() {
        if start.elapsed() > timeout {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Some(thread.join())
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
                let thread = thread.take();
                if thread.is_some_and(|thread| join(thread, END_TIMEOUT).is_none()) {
                    let name = self.is_at();
                    eprintln!(
                        "tickcast: warning: the far side's thread hangs in {name}; it is left to \
                         the end of this process"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_thread_that_hangs_is_not_waited_for() {
        let (release, is_released) = channel::<()>();
        let hanging = thread::spawn(move || is_released.recv());
        assert!(join(hanging, Duration::from_millis(10)).is_none());
        drop(release);
        let ending = thread::spawn(|| 7);
        assert_eq!(join(ending, END_TIMEOUT).unwrap().unwrap(), 7);
    }
}
