//! Who fails in the middle of a run: a peer is left out with all that it did, and what the run is
//! about ends it. No test looks at a time.
use std::any::Any;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver as From, SyncSender, TryRecvError, TrySendError, sync_channel};

use anyhow::{Result, bail};
use clap::Parser;
use serde_json::Value;
use tickcast_harness::benchmarks::Benchmark;
use tickcast_harness::catalogue::Entry;
use tickcast_harness::interrupt::Interrupt;
use tickcast_harness::message::Words;
use tickcast_harness::transport::{Link, Place, Receiver, Sender, Transport};
use tickcast_harness::{BUILT_IN, Options, Report};

/// Messages until one end has had enough: in the first round, and in a later one.
const SOON: u64 = 1_000;
const LATER: u64 = 300_000;

const NOBODY: u8 = 0;
const SENDER: u8 = 1;
const RECEIVER: u8 = 2;
const SILENT: u8 = 3;
const ABSENT: u8 = 4;

/// A channel of the standard library, of which one end fails after some messages.
struct Failing<const WHO: u8, const AFTER: u64>;

struct To<const WHO: u8, const AFTER: u64, const W: usize>(SyncSender<Words<W>>, u64);
struct Out<const WHO: u8, const AFTER: u64, const W: usize>(From<Words<W>>, u64);

impl<const WHO: u8, const AFTER: u64> Transport for Failing<WHO, AFTER> {
    const NAME: &'static str = match WHO {
        NOBODY => "sound",
        SENDER => "sender fails",
        RECEIVER => "receiver fails",
        SILENT => "falls silent",
        // What `bench udp` is about.
        _ => "udp loopback",
    };
    const HOW: &'static str = "";
    const PLACES: &'static [Place] = &[Place::InProcess];
    type Sender<const W: usize> = To<WHO, AFTER, W>;
    type Receiver<const W: usize> = Out<WHO, AFTER, W>;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        if WHO == ABSENT {
            bail!("there is none here");
        }
        let (to, from) = sync_channel::<Words<W>>(link.capacity());
        link.leave("sender", to);
        link.leave("receiver", from);
        Ok(Box::new(()))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<To<WHO, AFTER, W>> {
        Ok(To(link.take("sender")?, 0))
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<Out<WHO, AFTER, W>> {
        Ok(Out(link.take("receiver")?, 0))
    }
}

impl<const WHO: u8, const AFTER: u64, const W: usize> Sender<W> for To<WHO, AFTER, W> {
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        self.1 += 1;
        match (WHO, self.0.try_send(*message)) {
            (SENDER, _) if self.1 > AFTER => bail!("the sender has had enough"),
            (SILENT, _) if self.1 > AFTER => Ok(true),
            (_, Ok(())) => Ok(true),
            (_, Err(TrySendError::Full(_))) => Ok(false),
            (_, Err(error)) => Err(error.into()),
        }
    }
}

impl<const WHO: u8, const AFTER: u64, const W: usize> Receiver<W> for Out<WHO, AFTER, W> {
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        for polled in 0..limit {
            match self.0.try_recv() {
                Ok(message) => take(&message),
                Err(TryRecvError::Empty) => return Ok(polled),
                Err(error) => return Err(error.into()),
            }
            self.1 += 1;
            if WHO == RECEIVER && self.1 > AFTER {
                bail!("the receiver has had enough");
            }
        }
        Ok(limit)
    }
}

const FAILING: &[Entry] = &[
    BUILT_IN[0],
    BUILT_IN[1],
    Entry::of::<Failing<SENDER, SOON>>(),
    Entry::of::<Failing<RECEIVER, LATER>>(),
    Entry::of::<Failing<SILENT, SOON>>(),
    Entry::of::<Failing<NOBODY, 0>>(),
];

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn run(benchmark: Benchmark, arguments: &str, catalogue: &'static [Entry]) -> Result<Report> {
    // All runs use the same two cores, and have the same name.
    static RUNNING: Mutex<()> = Mutex::new(());
    let _alone = RUNNING.lock().unwrap();
    let arguments =
        ["bench", "--in-process", "--seconds", "1"].into_iter().chain(arguments.split(' '));
    let Cli { options } = Cli::parse_from(arguments);
    benchmark.run(&options, catalogue, &Interrupt::default())
}

#[test]
fn a_peer_that_fails_is_left_out_with_all_that_it_did() {
    let report = run(Benchmark::Throughput, "--peers all", FAILING).unwrap();
    let report = serde_json::to_value(&report).unwrap();
    let list = |of: &str| report[of].as_array().unwrap().clone();
    let mut left_out: Vec<Value> = list("left_out");
    left_out.sort_by_key(Value::to_string);
    let silent = "the far side: the other side made no progress for 5 s";
    let told = [
        ("falls silent", silent),
        ("receiver fails", "the far side: the receiver has had enough"),
        ("sender fails", "the sender has had enough"),
    ];
    assert_eq!(left_out.len(), told.len(), "{left_out:?}");
    for (line, (name, why)) in left_out.iter().zip(told) {
        let begin = format!("{name}: left out: {why}");
        assert!(line.as_str().unwrap().starts_with(&begin), "{line}");
    }
    let steps = list("steps");
    let of = |name: &str| steps.iter().filter(|step| step["contender"] == name).count();
    assert_eq!(of("sound"), of("tickcast") - 1, "streams, and no round trips");
    for (name, _) in told {
        assert_eq!(of(name), 0);
        assert!(list("how").iter().all(|how| how["name"] != name));
    }
    assert!(!list("rounds").is_empty());
    for round in list("rounds") {
        let count = |of: &str| round[of].as_array().unwrap().len();
        let counts = ["blocks", "order", "handoffs"].map(count);
        assert_eq!(counts, [steps.len(), steps.len(), steps.len() + 1]);
    }
}

#[test]
fn what_a_run_is_about_ends_it() {
    const NONE: &[Entry] = &[BUILT_IN[0], BUILT_IN[1], Entry::of::<Failing<ABSENT, 0>>()];
    let told = run(Benchmark::Udp, "--payload 48", NONE).map(drop).unwrap_err();
    assert_eq!(format!("{told:#}"), "udp loopback, in-process, 48 B: there is none here");
    // Where it is one of many, the others are measured.
    let report = run(Benchmark::Throughput, "--peers all", NONE).unwrap();
    let report = serde_json::to_value(&report).unwrap();
    assert_eq!(
        report["left_out"],
        serde_json::json!(["udp loopback: left out: there is none here"])
    );
}
