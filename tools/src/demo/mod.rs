//! `tickcast demo`: plays market data to two subscribers in this process and three in processes of
//! their own, journals and replays them, verifies what each got, and measures. Change here what the
//! demonstration consists of.

mod checksum;
mod child;
mod latency;
mod order_flow;
mod places;
mod player;
mod received;
mod recording;
mod subscription;
mod table;
mod tape;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tickcast::runtime::clock;
use tickcast::{Bus, Topic};

use crate::interrupt::{Interrupt, Interrupted};
use child::Peer;
use latency::Distribution;
use places::{Places, strategy};
use player::{Performance, Player, RATE_PER_S};
use received::{Outcome, Played};
use recording::Recording;
use subscription::{End, Subscription};
use table::{Row, Table, grouped};
use tape::Tape;
use tickcast_harness::benchmarks::bare_handoff;
use tickcast_harness::cores::pin;

/// The name of the hidden command that a child process runs.
pub(crate) const SUBSCRIBER_COMMAND: &str = "demo-subscriber";

const TOPIC: &str = "market-data";
const SUBSCRIBER_THREADS: usize = 2;
const SUBSCRIBER_PROCESSES: usize = 3;
/// With the publisher's.
const THREADS: usize = 1 + SUBSCRIBER_THREADS + SUBSCRIBER_PROCESSES;

/// Between two looks at how far the publisher has come.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);

/// What to play, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Play a pcap or pcapng capture of UDP market data, plain or gzip (each datagram is a
    /// message), or a file of length-prefixed messages such as BinaryFILE [default: generated ITCH
    /// 5.0 order flow]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// How long each of the two phases takes: paced, then flood
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
}

/// What a child process is told when it is started.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SubscriberOptions {
    /// The bus
    pub(crate) bus: String,
    /// The core to run on alone, if there is one for each
    #[arg(long)]
    pub(crate) core: Option<usize>,
}

/// Plays, verifies, measures, prints the table.
///
/// # Errors
/// When a part cannot be set up, a subscriber did not get every message in order, or the user wants
/// an end.
pub(crate) fn run(options: &Options) -> Result<()> {
    // First: from here on an interrupt leaves time to remove the bus.
    let interrupt = Interrupt::install()?;
    let tape = match &options.input {
        Some(path) => Tape::read(path)?,
        None => Tape::generated(),
    };
    let places = Places::choose()?;
    introduce(&tape, &places, options)?;
    let before = half_handoff(&interrupt)?;

    // The children come first: from the bus's first moment on there is somebody who removes it.
    let name = format!("demo-{}", process::id());
    let mut peers = (0..SUBSCRIBER_PROCESSES)
        .map(|at| Peer::start(&name, places.core(1 + SUBSCRIBER_THREADS + at)))
        .collect::<Result<Vec<_>>>()?;
    let bus = TemporaryBus::create(&name)?;
    peers.iter_mut().try_for_each(Peer::tidy_up)?;
    let topic = bus.0.topic(TOPIC).create().context("cannot make the topic")?;
    let (performance, outcomes) = play(options, &tape, &topic, &places, &mut peers, &interrupt)?;
    drop(peers);
    drop(topic);
    let recording = recording::record(&bus.0, &tape, &interrupt)?;
    drop(bus);

    let after = half_handoff(&interrupt)?;
    let played = Played::of(&tape, performance.messages);
    let flooded = performance.messages - paced(options);
    let row = |(name, outcome): (String, Outcome)| Row {
        name,
        messages: outcome.messages,
        flood_per_s: flooded as f64 * 1e9
            / outcome.last_ns.saturating_sub(performance.flood_ns).max(1) as f64,
        latency: outcome.latency,
        differences: outcome.differences(played),
    };
    let table = Table {
        tape_messages: tape.len(),
        subscribers: outcomes.into_iter().map(row).collect(),
        lateness: performance.lateness,
        handoffs: [before, after],
        played,
        clock_cost_ns: clock_cost_ns(),
        clock_was_set: performance.clock_was_set,
        threads: THREADS,
        cores: places.cores,
    };
    conclude(&table, &recording)
}

/// Plays a subscriber in a process of its own; what [`SUBSCRIBER_COMMAND`] runs.
///
/// # Errors
/// When it cannot subscribe, or report.
pub(crate) fn run_subscriber(options: &SubscriberOptions) -> Result<()> {
    child::run(options)
}

/// Has everybody subscribe, plays, and collects what everybody received.
fn play(
    options: &Options,
    tape: &Tape,
    topic: &Topic,
    places: &Places,
    peers: &mut [Peer],
    interrupt: &Interrupt,
) -> Result<(Performance, Vec<(String, Outcome)>)> {
    let paced = paced(options);
    let flood = Duration::from_secs(options.seconds);
    let (end, sent) = (End::unknown(), AtomicU64::new(0));
    thread::scope(|scope| {
        // Before anything can fail: on errors it lets the threads end.
        let _release = Release(&end);
        let mut threads = Vec::new();
        for at in 0..SUBSCRIBER_THREADS {
            let core = places.core(1 + at);
            let subscription = Subscription::open(topic, strategy(core), paced)?;
            let end = &end;
            threads.push(scope.spawn(move || {
                core.map_or(Ok(()), pin)?;
                Ok::<_, anyhow::Error>(subscription.run(end))
            }));
        }
        peers.iter_mut().try_for_each(|peer| peer.subscribe(paced))?;
        peers.iter_mut().try_for_each(Peer::subscribed)?;

        let publisher = topic.publisher(0).context("cannot publish")?;
        let core = places.core(0);
        let mut player = Player { publisher, tape, idle: strategy(core), sent: &sent, interrupt };
        let playing = scope.spawn(move || {
            core.map_or(Ok(()), pin)?;
            let performance = player.play(paced, flood)?;
            Ok::<_, anyhow::Error>((performance, player.publisher))
        });
        show_progress(&playing, &sent, paced, flood);
        // The publisher is held on to: its end would be news to the subscribers.
        let (performance, _publisher) = join(playing)?;

        end.tell(performance.messages);
        peers.iter_mut().try_for_each(|peer| peer.finish(performance.messages))?;
        let mut outcomes = Vec::new();
        for (at, thread) in threads.into_iter().enumerate() {
            outcomes.push((format!("thread {}", at + 1), join(thread)?));
        }
        for peer in peers {
            outcomes.push((format!("process {}", peer.pid()), peer.received()?));
        }
        Ok((performance, outcomes))
    })
}

/// How many messages are paced.
fn paced(options: &Options) -> u64 {
    options.seconds * RATE_PER_S
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Lets the threads end where the end was never told.
struct Release<'a>(&'a End);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.tell(0);
    }
}

/// Draws a bar on a terminal, and waits for the end in any case.
fn show_progress<T>(
    playing: &ScopedJoinHandle<'_, T>,
    sent: &AtomicU64,
    paced: u64,
    flood: Duration,
) {
    let phases_ms = (Duration::from_secs(paced / RATE_PER_S) + flood).as_millis() as u64;
    let bar = ProgressBar::new(phases_ms);
    if let Ok(style) = ProgressStyle::with_template("{msg:<32} {bar:50} {elapsed}") {
        bar.set_style(style);
    }
    let start = Instant::now();
    while !playing.is_finished() {
        let sent = sent.load(Ordering::Relaxed);
        let phase = if sent < paced { "paced" } else { "flood" };
        bar.set_message(format!("{phase}: {} messages", grouped(sent)));
        bar.set_position((start.elapsed().as_millis() as u64).min(phases_ms));
        thread::sleep(PROGRESS_INTERVAL);
    }
    bar.finish_and_clear();
}

/// The bus of one run.
struct TemporaryBus(Bus);

impl TemporaryBus {
    fn create(name: &str) -> Result<Self> {
        // Left by a run with the same pid that was killed together with its children.
        let _ = Bus::remove(name, false);
        Ok(Self(Bus::create(name).with_context(|| format!("cannot make the bus {name}"))?))
    }
}

impl Drop for TemporaryBus {
    fn drop(&mut self) {
        if let Err(error) = Bus::remove(self.0.name(), true) {
            eprintln!("cannot remove the bus {}: {error}", self.0.name());
        }
    }
}

/// Half a round trip of the bare hand-off. It is the physical limit and no part of the bus, so a
/// machine on which it cannot be measured still gets its table.
///
/// # Errors
/// When the user wants an end.
fn half_handoff(interrupt: &Interrupt) -> Result<Result<Distribution, String>, Interrupted> {
    let trip = bare_handoff(interrupt);
    interrupt.check()?;
    let half = |ns: Option<f64>| ns.map(|ns| ns / 2.0);
    Ok(trip.map_err(|error| format!("{error:#}")).map(|trip| Distribution {
        samples: trip.samples,
        p50_ns: half(trip.p50_ns),
        p99_ns: half(trip.p99_ns),
        p99_9_ns: half(trip.p999_ns),
        max_ns: None,
    }))
}

/// What one look at the clock costs that latencies are taken by: on average, when undisturbed.
fn clock_cost_ns() -> f64 {
    const BATCHES: u32 = 50;
    const READINGS: u32 = 2_000;
    let batch = |_| {
        let start = Instant::now();
        for _ in 0..READINGS {
            std::hint::black_box(clock::now_ns());
        }
        start.elapsed().as_nanos() as f64 / f64::from(READINGS)
    };
    (0..BATCHES).map(batch).fold(f64::INFINITY, f64::min)
}

/// Says what will be done, since it takes some seconds.
fn introduce(tape: &Tape, places: &Places, options: &Options) -> Result<()> {
    let mut out = io::stdout().lock();
    let mut lines = || {
        let (count, kilobytes) = (grouped(tape.len()), grouped(tape.bytes().div_ceil(1000)));
        let [name, notes @ ..] = tape.about() else { unreachable!("a tape has a name") };
        writeln!(out, "input      {name}\n           {count} messages, {kilobytes} kB")?;
        for note in notes {
            writeln!(out, "           {note}")?;
        }
        writeln!(
            out,
            "topic      {TOPIC}: 1 publisher; reliable subscribers: {SUBSCRIBER_THREADS} threads, \
             {SUBSCRIBER_PROCESSES} child processes\n\
             threads    {places}\n\
             phases     {seconds} s paced at {} msg/s for latency, {seconds} s flood for throughput\n",
            grouped(RATE_PER_S),
            seconds = options.seconds,
        )
    };
    lines().context("cannot print")
}

fn conclude(table: &Table, recording: &Recording) -> Result<()> {
    let program = env::args().next().unwrap_or_else(|| "tickcast".to_owned());
    let mut out = io::stdout().lock();
    write!(out, "{table}{recording}")
        .and_then(|()| {
            writeln!(
                out,
                "next       {program} bench latency   (one subscriber, a core for each side)"
            )
        })
        .context("cannot print")?;
    match table.failed() {
        0 => recording.check(),
        failed => bail!("{failed} of {} subscribers FAILED", table.subscribers.len()),
    }
}
