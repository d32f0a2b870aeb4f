//! Cores with real threads; no test asserts a time.
#![forbid(unsafe_code)]

use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;

use super::*;

/// What an agent tells about a call: which agent, which call, on which thread.
type Told = (&'static str, &'static str, ThreadId);

/// Tells each of its calls, and does `work(n)` in its n-th poll, counted from 1.
struct Scripted<F> {
    name: &'static str,
    told: Sender<Told>,
    polls: usize,
    work: F,
}

impl<F: FnMut(usize) -> usize + Send> Scripted<F> {
    fn tell(&self, call: &'static str) {
        // A test that has seen enough hangs up.
        let _ = self.told.send((self.name, call, thread::current().id()));
    }
}

impl<F: FnMut(usize) -> usize + Send> Agent for Scripted<F> {
    fn name(&self) -> &str {
        self.name
    }
    fn poll(&mut self) -> usize {
        self.tell("poll");
        self.polls += 1;
        (self.work)(self.polls)
    }
    fn close(&mut self) {
        self.tell("close");
    }
}

fn scripted<F>(name: &'static str, told: &Sender<Told>, work: F) -> Box<dyn Agent>
where
    F: FnMut(usize) -> usize + Send + 'static,
{
    Box::new(Scripted { name, told: told.clone(), polls: 0, work })
}

/// Panics in the n-th poll, finds nothing in those before.
fn panics_at(n: usize) -> impl FnMut(usize) -> usize + Send {
    move |poll| if poll == n { panic!("poll {n} was told to") } else { 0 }
}

fn closed(told: &Receiver<Told>) -> Vec<&'static str> {
    told.try_iter().filter(|(_, call, _)| *call == "close").map(|(name, ..)| name).collect()
}

#[test]
fn polls_in_turn_and_closes_each_once_on_the_cores_thread() {
    let (sender, told) = channel();
    let core = Core::builder("turns")
        .agent(scripted("a", &sender, |_| 0))
        .agent(scripted("b", &sender, |_| 1))
        .agent(scripted("c", &sender, |_| 0))
        .start()
        .expect("a core without a pin starts");
    drop(sender);
    let mut calls: Vec<Told> = told.iter().take(30).collect();
    core.stop().expect("no agent panics");
    calls.extend(told.iter());

    let closes = calls.split_off(calls.len() - 3);
    assert_eq!(calls.len() % 3, 0, "a round is finished before the core stops");
    for (call, expected) in calls.iter().zip(["a", "b", "c"].iter().cycle()) {
        assert_eq!((call.0, call.1), (*expected, "poll"));
    }
    let closes: Vec<_> = closes.iter().map(|(name, call, _)| (*name, *call)).collect();
    assert_eq!(closes, [("a", "close"), ("b", "close"), ("c", "close")]);
    assert_ne!(calls[0].2, thread::current().id());
}

#[test]
fn all_calls_come_on_one_thread() {
    let (sender, told) = channel();
    let core = Core::builder("one-thread").agent(scripted("a", &sender, |_| 0)).start();
    let first = told.recv().expect("the agent is polled");
    core.expect("a core without a pin starts").stop().expect("no agent panics");
    let rest: Vec<Told> = told.try_iter().collect();
    assert_eq!(rest.last().map(|call| call.1), Some("close"));
    assert!(rest.iter().all(|call| call.2 == first.2));
}

#[test]
fn dropping_the_handle_stops_the_core() {
    let (sender, told) = channel();
    let core = Core::builder("dropped").agent(scripted("a", &sender, |_| 0)).start();
    drop(core.expect("a core without a pin starts"));
    assert_eq!(closed(&told), ["a"]);
}

#[test]
fn the_thread_bears_the_name_of_which_linux_keeps_15_bytes() {
    let (sender, names) = channel();
    let (told, _) = channel();
    let work = move |_| {
        let kept = fs::read_to_string("/proc/thread-self/comm").expect("/proc is mounted");
        let _ = sender.send((thread::current().name().map(str::to_owned), kept));
        0
    };
    let core = Core::builder("market-data-core-1").agent(scripted("a", &told, work)).start();
    let (name, kept) = names.recv().expect("the agent is polled");
    core.expect("a core without a pin starts").stop().expect("no agent panics");
    assert_eq!(name.as_deref(), Some("market-data-core-1"));
    assert_eq!(kept, "market-data-cor\n");
}

#[test]
fn runs_on_the_core_that_it_is_pinned_to() {
    let core_id = core_affinity::get_core_ids().expect("the affinity is readable")[0].id;
    let (sender, allowed) = channel();
    let (told, _) = channel();
    let work = move |_| {
        let _ = sender.send(core_affinity::get_core_ids());
        0
    };
    let core = Core::builder("pinned").pin(core_id).agent(scripted("a", &told, work)).start();
    let allowed = allowed.recv().expect("the agent is polled");
    core.expect("an allowed core is accepted").stop().expect("no agent panics");
    assert_eq!(allowed, Some(vec![CoreId { id: core_id }]));
}

#[test]
fn a_core_that_is_not_allowed_is_refused_before_the_thread_starts() {
    let (sender, told) = channel();
    for core_id in [100_000, usize::MAX] {
        let refused = Core::builder("md").pin(core_id).agent(scripted("a", &sender, |_| 0)).start();
        let error = refused.expect_err("there is no such processor core");
        let text = error.to_string();
        let StartError::NotAllowed { allowed, .. } = error else { panic!("{text}") };
        assert!(!allowed.is_empty());
        assert!(text.contains("core `md`") && text.contains(&core_id.to_string()), "{text}");
        assert!(text.contains(&format!("{allowed:?}")), "{text}");
    }
    assert_eq!(told.try_iter().count(), 0, "nothing is polled or closed");
}

#[test]
fn a_core_that_exists_but_is_not_allowed_is_refused() {
    let cores = core_affinity::get_core_ids().expect("the affinity is readable");
    let [first, second, ..] = cores[..] else {
        eprintln!("skipped: this test needs two processor cores");
        return;
    };
    let (told, _) = channel();
    let agent = scripted("a", &told, |_| 0);
    let started = thread::spawn(move || {
        assert!(core_affinity::set_for_current(first));
        Core::builder("md").pin(second.id).agent(agent).start().map(drop)
    });
    let error = started.join().expect("starting does not panic").expect_err("not allowed");
    let StartError::NotAllowed { allowed, .. } = error else { panic!("{error}") };
    assert_eq!(allowed, [first.id]);
}

#[test]
fn a_core_without_agents_or_with_a_nul_in_its_name_is_refused() {
    let empty = Core::builder("empty").start();
    assert!(matches!(empty, Err(StartError::NoAgents { core }) if core == "empty"));
    let (told, _) = channel();
    let nul = Core::builder("a\0b").agent(scripted("a", &told, |_| 0)).start();
    assert!(matches!(nul, Err(StartError::NulInName { .. })));
}

#[test]
fn counts_polls_and_reads_while_running() {
    let (sender, told) = channel();
    let core = Core::builder("counts")
        .agent(scripted("even", &sender, |poll| usize::from(poll % 2 == 0)))
        .start()
        .expect("a core without a pin starts");
    // A poll is counted after it ends, so before the next one of the same agent begins.
    assert_eq!(told.iter().take(11).count(), 11);
    let then = core.duty_cycles();
    assert_eq!(then[0].agent, "even");
    assert!(then[0].polls >= 10 && then[0].busy_polls >= 5, "{then:?}");
    while core.duty_cycles()[0].polls <= then[0].polls {
        thread::yield_now();
    }
    core.stop().expect("no agent panics");
}

#[test]
fn counts_each_agent_for_itself() {
    let (told, _) = channel();
    let core = Core::builder("exact")
        .agent(scripted("always", &told, |_| 7))
        .agent(scripted("fifth", &told, panics_at(5)))
        .start()
        .expect("a core without a pin starts");
    while core.is_running() {
        thread::yield_now();
    }
    let duty_cycles = core.duty_cycles();
    let counts: Vec<_> =
        duty_cycles.iter().map(|d| (d.agent.as_str(), d.polls, d.busy_polls)).collect();
    assert_eq!(counts, [("always", 5, 5), ("fifth", 4, 0)], "a poll that panics does not count");
    assert!(duty_cycles[0].max_ns <= duty_cycles[0].busy_ns);
    assert_eq!((duty_cycles[1].busy_ns, duty_cycles[1].max_ns), (0, 0));
}

#[test]
fn a_panic_names_the_agent_and_closes_the_others() {
    let (sender, told) = channel();
    let core = Core::builder("md")
        .agent(scripted("before", &sender, |_| 0))
        .agent(scripted("faulty", &sender, panics_at(3)))
        .agent(scripted("after", &sender, |_| 0))
        .start()
        .expect("a core without a pin starts");
    while core.is_running() {
        thread::yield_now();
    }
    let expected = StopError::AgentPanicked {
        core: "md".to_owned(),
        agent: "faulty".to_owned(),
        during: "poll",
        message: "poll 3 was told to".to_owned(),
    };
    assert_eq!(core.stop(), Err(expected.clone()));
    assert!(expected.to_string().contains("agent `faulty` of core `md`"), "{expected}");
    assert_eq!(closed(&told), ["before", "after"]);
}

#[test]
fn a_panic_while_closing_or_dropping_does_not_keep_the_others_open() {
    struct Faulty(&'static str);
    impl Agent for Faulty {
        fn name(&self) -> &str {
            self.0
        }
        fn poll(&mut self) -> usize {
            0
        }
        fn close(&mut self) {
            assert_ne!(self.0, "closes badly", "cannot close");
        }
    }
    impl Drop for Faulty {
        fn drop(&mut self) {
            assert_ne!(self.0, "drops badly", "cannot drop");
        }
    }
    for name in ["closes badly", "drops badly"] {
        let (sender, told) = channel();
        let core = Core::builder("md")
            .agent(Box::new(Faulty(name)))
            .agent(scripted("after", &sender, |_| 0))
            .start()
            .expect("a core without a pin starts");
        let outcome = core.stop();
        let Err(StopError::AgentPanicked { agent, during: "close", .. }) = outcome else {
            panic!("{name}: {outcome:?}");
        };
        assert_eq!(agent, name);
        assert_eq!(closed(&told), ["after"]);
    }
}

#[test]
fn stopping_inside_a_poll_does_not_wait() {
    let (told, _) = channel();
    let (sender, inner_told) = channel();
    let inner = Core::builder("inner").agent(scripted("inner", &sender, |_| 0)).start();
    drop(sender);
    let mut inner = Some(inner.expect("a core without a pin starts"));

    let (sender, outcomes) = channel();
    let stops = move |_| {
        if let Some(inner) = inner.take() {
            let _ = sender.send(inner.stop());
        }
        0
    };
    let outer = Core::builder("outer").agent(scripted("outer", &told, stops)).start();
    let outcome = outcomes.recv().expect("the agent is polled");
    assert_eq!(outcome, Err(StopError::MustNotWait { core: "inner".to_owned() }));
    outer.expect("a core without a pin starts").stop().expect("no agent panics");
    assert_eq!(inner_told.iter().filter(|call| call.1 == "close").count(), 1, "it ends by itself");
}

#[test]
fn a_handle_that_ends_on_its_own_core_does_not_wait_for_itself() {
    /// Holds the handle of the core that it runs on, and drops it in `close`.
    struct Keeper(Receiver<CoreHandle>, Option<CoreHandle>, Sender<&'static str>);
    impl Agent for Keeper {
        fn name(&self) -> &str {
            "keeper"
        }
        fn poll(&mut self) -> usize {
            if let Ok(core) = self.0.try_recv() {
                core.shared.stop.store(true, Ordering::Relaxed);
                self.1 = Some(core);
            }
            0
        }
        fn close(&mut self) {
            self.1 = None;
            let _ = self.2.send("closed");
        }
    }
    let (handles, receiver) = channel();
    let (sender, closed) = channel();
    let keeper = Box::new(Keeper(receiver, None, sender));
    let core = Core::builder("own").agent(keeper).start().expect("a core without a pin starts");
    handles.send(core).expect("the keeper listens");
    assert_eq!(closed.recv(), Ok("closed"), "`close` panics when it waits for its own thread");
}
