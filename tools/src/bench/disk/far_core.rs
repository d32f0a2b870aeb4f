//! The other core: a thread that polls one of several agents at a time, and sleeps in between.
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use tickcast::runtime::{Agent, Idle, IdleStrategy};

use tickcast_harness::cores::{self, Cores};

/// Nobody is polled.
const REST: usize = usize::MAX;
/// Everybody is closed, and the thread ends.
const END: usize = usize::MAX - 1;

/// Who is polled, by the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AgentId(usize);

/// Agents that wait for their core.
#[derive(Default)]
pub(super) struct Crew(Vec<Box<dyn Agent>>);

/// A core with its agents. Dropped, it closes them all.
pub(super) struct FarCore {
    state: Arc<State>,
    /// `None` only while it is dropped.
    thread: Option<JoinHandle<()>>,
}

struct State {
    wanted: AtomicUsize,
    polled: AtomicUsize,
}

impl Crew {
    pub(super) fn add(&mut self, agent: impl Agent + 'static) -> AgentId {
        self.0.push(Box::new(agent));
        AgentId(self.0.len() - 1)
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(self, cores: Cores) -> Result<FarCore> {
        let state =
            Arc::new(State { wanted: AtomicUsize::new(REST), polled: AtomicUsize::new(REST) });
        let (shared, mut agents) = (Arc::clone(&state), self.0);
        let strategy = match cores.oversubscribed() {
            true => IdleStrategy::back_off(),
            false => IdleStrategy::SpinPause,
        };
        let work = move || {
            // The thread goes on all the same, so that nobody waits for it in vain.
            if let Err(error) = cores::pin(cores.far) {
                eprintln!("tickcast: warning: {error:#}");
            }
            shared.serve(&mut agents, strategy);
            agents.iter_mut().for_each(|agent| agent.close());
        };
        let thread = thread::Builder::new().name("far-core".into()).spawn(work);
        let thread = thread.context("cannot start a thread for the other core")?;
        Ok(FarCore { state, thread: Some(thread) })
    }
}

impl State {
    fn serve(&self, agents: &mut [Box<dyn Agent>], strategy: IdleStrategy) {
        loop {
            // Pairs with the store in `order`.
            let wanted = self.wanted.load(Ordering::Acquire);
            // Pairs with the load in `order`: what was polled before is over.
            self.polled.store(wanted, Ordering::Release);
            match wanted {
                END => break,
                REST => thread::park(),
                index => {
                    let mut idle = Idle::new(strategy);
                    while self.wanted.load(Ordering::Relaxed) == index {
                        idle.idle(agents[index].poll());
                    }
                }
            }
        }
    }
}

impl FarCore {
    /// Polls an agent for as long as `near` takes.
    ///
    /// # Errors
    /// When the thread has ended, or `near` fails.
    pub(super) fn beside<R>(&self, agent: AgentId, near: impl FnOnce() -> Result<R>) -> Result<R> {
        self.order(agent.0)?;
        let done = near();
        self.order(REST).and(done)
    }

    fn order(&self, wanted: usize) -> Result<()> {
        let Some(thread) = &self.thread else { bail!("the other core has ended") };
        self.state.wanted.store(wanted, Ordering::Release);
        thread.thread().unpark();
        while self.state.polled.load(Ordering::Acquire) != wanted {
            if thread.is_finished() {
                bail!("the thread of the other core has ended: an agent of it panicked");
            }
            spin_loop();
        }
        Ok(())
    }
}

impl Drop for FarCore {
    fn drop(&mut self) {
        // Where it has ended, a panic was told by its hook.
        let _ = self.order(END);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Polls nothing: keeps its core busy.
pub(super) struct Busy;

impl Agent for Busy {
    fn name(&self) -> &str {
        "busy"
    }

    fn poll(&mut self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    struct Counter {
        polls: Arc<AtomicUsize>,
        closed: Arc<AtomicBool>,
    }

    impl Agent for Counter {
        fn name(&self) -> &str {
            "counter"
        }

        fn poll(&mut self) -> usize {
            self.polls.fetch_add(1, Ordering::Relaxed)
        }

        fn close(&mut self) {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_agent_is_polled_when_it_is_wanted_and_closed_at_the_end() {
        let (polls, closed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut crew = Crew::default();
        crew.add(Busy);
        let counter = crew.add(Counter { polls: polls.clone(), closed: closed.clone() });
        let far = crew.start(Cores::choose(&[]).unwrap()).unwrap();
        assert_eq!(polls.load(Ordering::Relaxed), 0);
        let wait = || {
            while polls.load(Ordering::Relaxed) < 100 {
                thread::yield_now();
            }
            Ok(())
        };
        far.beside(counter, wait).unwrap();
        let rested = polls.load(Ordering::Relaxed);
        thread::yield_now();
        assert_eq!(polls.load(Ordering::Relaxed), rested);
        assert!(!closed.load(Ordering::Relaxed));
        drop(far);
        assert!(closed.load(Ordering::Relaxed));
    }
}
