//! The core: one named thread, pinned if asked, that polls its agents in turn.
#![forbid(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;
use std::{io, mem};

use core_affinity::CoreId;

use super::agent::{Agent, poll_marked};
use super::clock::whole_ns;
use super::duty_cycle::{Counters, DutyCycle};
use super::idle::{Idle, IdleStrategy};
use super::inside_agent;
use crate::fork::{self, Generation};
use crate::sync::{AtomicBool, Ordering};

/// A thread that polls its agents in turn until it is stopped.
///
/// Each round polls every agent once, in the order in which they were added; a round in which no
/// agent did work is followed by one step of the [`IdleStrategy`].
///
/// Beside the polls, a round costs each agent one reading of the clock at most (the end of one poll
/// is the start of the next), and a few plain stores to its counters. A reading takes some tens of
/// nanoseconds where the kernel's clock source is the processor's counter, and a system call where
/// it is not: see `/sys/devices/system/clocksource/clocksource0/current_clocksource`.
///
/// # Examples
/// ```
/// use tickcast::runtime::{Agent, Core, IdleStrategy};
///
/// struct Countdown(usize);
///
/// impl Agent for Countdown {
///     fn name(&self) -> &str {
///         "countdown"
///     }
///     fn poll(&mut self) -> usize {
///         let work = self.0.min(1);
///         self.0 -= work;
///         work
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let core = Core::builder("md-core")
///     .idle(IdleStrategy::back_off())
///     .agent(Box::new(Countdown(3)))
///     .start()?;
/// while core.duty_cycles()[0].busy_polls < 3 {
///     std::thread::yield_now();
/// }
/// core.stop()?;
/// # Ok(())
/// # }
/// ```
pub struct Core {
    agents: Vec<Box<dyn Agent>>,
    idle: Idle,
    shared: Arc<Shared>,
}

/// What the core's thread and its handle both hold.
#[derive(Debug)]
struct Shared {
    name: String,
    /// Set once, never cleared. Relaxed on both sides: it carries no data, and what the agents did
    /// is ordered by joining the thread.
    stop: AtomicBool,
    /// One for each agent, in polling order.
    counters: Vec<(String, Counters)>,
}

impl Core {
    /// Describes a core whose thread will be called `name`.
    ///
    /// Linux keeps the first 15 bytes of a thread's name (in `top -H`, `ps -L`, `perf`), so let
    /// names differ there. Errors and logs show the whole.
    pub fn builder(name: impl Into<String>) -> CoreBuilder {
        CoreBuilder {
            name: name.into(),
            core_id: None,
            strategy: IdleStrategy::default(),
            agents: Vec::new(),
        }
    }

    /// The thread's whole life. Returns the first panic of an agent, if there was one.
    fn run(mut self) -> Result<(), StopError> {
        let mut polling = 0;
        let polled = catch_unwind(AssertUnwindSafe(|| self.poll_until_stopped(&mut polling)));
        let polled = polled.map_err(|payload| self.shared.panicked(polling, "poll", &*payload));
        let broken = polled.is_err().then_some(polling);

        let mut outcome = polled;
        for (index, mut agent) in mem::take(&mut self.agents).into_iter().enumerate() {
            let closed = catch_unwind(AssertUnwindSafe(move || {
                if broken != Some(index) {
                    agent.close();
                }
                drop(agent);
            }));
            let closed = closed.map_err(|payload| self.shared.panicked(index, "close", &*payload));
            outcome = outcome.and(closed);
        }
        outcome
    }

    /// Polls round after round, and keeps the index of the agent that is being polled in `polling`,
    /// where it outlives a panic.
    fn poll_until_stopped(&mut self, polling: &mut usize) {
        let last = self.agents.len() - 1;
        let mut began = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let mut round_work = 0_usize;
            for (index, agent) in self.agents.iter_mut().enumerate() {
                *polling = index;
                let work = poll_marked(agent.as_mut());
                round_work = round_work.saturating_add(work);

                let counters = &self.shared.counters[index].1;
                if work > 0 {
                    let ended = Instant::now();
                    counters.count_busy(whole_ns(ended.duration_since(began)));
                    began = ended;
                } else {
                    counters.count_empty();
                    // After an idle round the clock is read behind the idling instead.
                    if index < last || round_work > 0 {
                        began = Instant::now();
                    }
                }
            }
            self.idle.idle(round_work);
            if round_work == 0 {
                began = Instant::now();
            }
        }
    }
}

impl Shared {
    /// Logs the panic at once (the handle may be asked much later) and makes the error of it.
    fn panicked(
        &self,
        agent: usize,
        during: &'static str,
        payload: &(dyn Any + Send),
    ) -> StopError {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a text".to_owned());
        let error = StopError::AgentPanicked {
            core: self.name.clone(),
            agent: self.counters[agent].0.clone(),
            during,
            message,
        };
        log::error!("{error}");
        error
    }
}

/// Describes a [`Core`] before it starts; made by [`Core::builder`].
#[must_use = "a core runs only after `start`"]
pub struct CoreBuilder {
    name: String,
    core_id: Option<usize>,
    strategy: IdleStrategy,
    agents: Vec<Box<dyn Agent>>,
}

impl CoreBuilder {
    /// Pins the thread to this processor core, by the number that Linux gives it.
    pub fn pin(mut self, core_id: usize) -> Self {
        self.core_id = Some(core_id);
        self
    }

    /// What the thread does after a round without work; [`IdleStrategy::back_off`] if not said.
    pub fn idle(mut self, strategy: IdleStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Adds an agent behind those that were added before.
    pub fn agent(mut self, agent: Box<dyn Agent>) -> Self {
        self.agents.push(agent);
        self
    }

    /// Starts the thread and returns once it is pinned and about to poll.
    ///
    /// A new thread may use the processor cores that its starter may use, so a starter that is
    /// itself pinned can pin only to its own: start the cores first.
    ///
    /// # Errors
    /// Nothing has been polled, and the agents are dropped without [`Agent::close`], if
    /// - there is no agent to poll,
    /// - the name holds a NUL byte,
    /// - the processor core does not exist or the calling thread may not use it,
    /// - the system refused to pin or to start the thread.
    pub fn start(self) -> Result<CoreHandle, StartError> {
        let Self { name, core_id, strategy, agents } = self;
        if agents.is_empty() {
            return Err(StartError::NoAgents { core: name });
        }
        if name.contains('\0') {
            return Err(StartError::NulInName { core: name });
        }
        if let Some(core_id) = core_id {
            check_allowed(&name, core_id)?;
        }
        if let Err(source) = fork::watch() {
            return Err(StartError::Spawn { core: name, source });
        }

        let counters = agents.iter().map(|a| (a.name().to_owned(), Counters::new())).collect();
        let shared =
            Arc::new(Shared { name: name.clone(), stop: AtomicBool::new(false), counters });
        let core = Core { agents, idle: Idle::new(strategy), shared: Arc::clone(&shared) };

        let (pinned_sender, pinned) = mpsc::sync_channel(1);
        let spawned = thread::Builder::new().name(name.clone()).spawn(move || {
            let is_pinned = core_id.is_none_or(|id| core_affinity::set_for_current(CoreId { id }));
            // The starter waits for this answer, so sending it cannot fail.
            let _ = pinned_sender.send(is_pinned);
            if is_pinned { core.run() } else { Ok(()) }
        });
        let thread = match spawned {
            Ok(thread) => thread,
            Err(source) => return Err(StartError::Spawn { core: name, source }),
        };
        match (pinned.recv(), core_id) {
            (Ok(false), Some(core_id)) => {
                // It only drops the agents; a panic in that was told by the panic's hook.
                let _ = thread.join();
                Err(StartError::Pin { core: name, core_id })
            }
            _ => Ok(CoreHandle { shared, thread: Some(thread), made_in: Generation::now() }),
        }
    }
}

/// Refuses a processor core that the calling thread, and so a thread that it starts, may not use.
fn check_allowed(core: &str, core_id: usize) -> Result<(), StartError> {
    let allowed: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    if allowed.contains(&core_id) {
        return Ok(());
    }
    Err(StartError::NotAllowed { core: core.to_owned(), core_id, allowed })
}

/// A running [`Core`]. Dropping it stops the core like [`stop`](CoreHandle::stop).
///
/// A forked child does not have the thread: to it the core does not run, and dropping the handle
/// there does nothing.
#[derive(Debug)]
#[must_use = "dropping the handle stops the core"]
pub struct CoreHandle {
    shared: Arc<Shared>,
    /// `None` once joined.
    thread: Option<JoinHandle<Result<(), StopError>>>,
    /// The process that has the thread.
    made_in: Generation,
}

impl CoreHandle {
    /// How busy each agent is, in polling order. May be called while the core runs; each number is
    /// current, but the numbers of one agent may be of neighbouring polls.
    pub fn duty_cycles(&self) -> Vec<DutyCycle> {
        self.shared.counters.iter().map(|(agent, counters)| counters.read(agent)).collect()
    }

    /// Whether the core still polls. A core that nobody stopped ends when an agent panics;
    /// [`stop`](CoreHandle::stop) then tells which.
    pub fn is_running(&self) -> bool {
        self.made_in.is_current()
            && self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Asks the core to stop after the current round, and waits until each agent was closed, in
    /// polling order and on the core's thread.
    ///
    /// # Errors
    /// - An agent panicked: the first one to do so is named, all others were closed.
    /// - Called inside an agent's poll, or on the core's own thread, where it must not wait: the
    ///   core was asked to stop and ends by itself.
    /// - Called in a forked child, where there is nothing to stop.
    pub fn stop(mut self) -> Result<(), StopError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), StopError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        if !self.made_in.is_current() {
            // The handle of a thread that is not here: it can be neither joined nor detached.
            mem::forget(thread);
            return Err(StopError::Forked { core: self.shared.name.clone() });
        }
        self.shared.stop.store(true, Ordering::Relaxed);
        if inside_agent() || thread.thread().id() == thread::current().id() {
            return Err(StopError::MustNotWait { core: self.shared.name.clone() });
        }
        // All that agents do is caught in `Core::run`: what comes out here is a bug of ours.
        thread.join().unwrap_or_else(|payload| resume_unwind(payload))
    }
}

impl Drop for CoreHandle {
    fn drop(&mut self) {
        if let Err(error @ StopError::MustNotWait { .. }) = self.shut_down() {
            log::warn!("{error}");
        }
    }
}

/// Why a core did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nothing was given to poll.
    #[error("core `{core}` has no agent to poll; add one with `.agent(...)` before `.start()`")]
    NoAgents {
        /// The core's name.
        core: String,
    },
    /// A thread's name must not hold a NUL byte.
    #[error("core name {core:?} holds a NUL byte, which a thread's name must not; take it out")]
    NulInName {
        /// The core's name.
        core: String,
    },
    /// The processor core does not exist, or the calling thread may not use it.
    #[error(
        "core `{core}` cannot be pinned to processor core {core_id}: the thread that starts it may \
         use {allowed:?}; choose one of these, or widen the starter's affinity (taskset, cpuset)"
    )]
    NotAllowed {
        /// The core's name.
        core: String,
        /// The processor core that was asked for.
        core_id: usize,
        /// The processor cores that the calling thread may use.
        allowed: Vec<usize>,
    },
    /// The system refused to pin the thread although its starter may use the processor core.
    #[error(
        "the system refused to pin core `{core}` to processor core {core_id}; see whether it went \
         offline or the cpuset changed, and start again"
    )]
    Pin {
        /// The core's name.
        core: String,
        /// The processor core that was asked for.
        core_id: usize,
    },
    /// The system refused to start the thread.
    #[error("cannot start the thread of core `{core}`; check the limits on threads and memory")]
    Spawn {
        /// The core's name.
        core: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What went wrong in a core that was stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// An agent panicked, which ended the core.
    #[error(
        "agent `{agent}` of core `{core}` panicked in {during}: {message}; the other agents were \
         closed, correct the agent and start a new core"
    )]
    AgentPanicked {
        /// The core's name.
        core: String,
        /// The agent's name.
        agent: String,
        /// `poll`, or `close` (which includes dropping the agent).
        during: &'static str,
        /// The panic's text.
        message: String,
    },
    /// The caller must not wait for the core's end.
    #[error(
        "core `{core}` was asked to stop but not waited for: this thread must not wait inside an \
         agent's poll nor for itself; stop the core from a thread that is not a core"
    )]
    MustNotWait {
        /// The core's name.
        core: String,
    },
    /// The core runs in the process that this one was forked from.
    #[error(
        "core `{core}` was started before this process was forked and does not run in it: stop it \
         in the process that started it"
    )]
    Forked {
        /// The core's name.
        core: String,
    },
}

#[cfg(test)]
mod tests;
