//! `tickcast sub`: prints the messages of a topic as they come.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tickcast::{Event, Flow, Mode, Notice, NoticeKind, StartAt, Subscriber};

use crate::interrupt::{Interrupt, LOOK_AT_LEAST_EVERY};
use crate::name::Address;
use crate::output::{Format, Printer, unless_abandoned};
use crate::{point, time};

pub(crate) const AFTER_HELP: &str = "\
A time: 2026-01-02T03:04:05Z, or in ns since 1970: 1767323045000000000ns.
A loss is a line of JSON, or goes to standard error in the other formats.
Ctrl-C is exit code 0; a timeout before N messages is 1, and so is a partition
from which nothing more comes, whatever ends the command.

Example:
  tickcast sub md/trades --from earliest --count 5 --format json";

/// Events between two looks at the wish to end.
const POLL_LIMIT: usize = 1024;

/// What to print how, and until when.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The topic, or one of its partitions
    #[arg(value_name = "BUS/TOPIC[/PARTITION]")]
    address: Address,
    /// live, earliest, an offset, or a time
    #[arg(long, value_name = "WHERE", default_value = "live", value_parser = point::in_ring)]
    from: StartAt,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// lossy may miss messages and is told; reliable makes the publisher wait
    #[arg(long, default_value = "lossy", hide_possible_values = true)]
    mode: ModeName,
    /// text, json, hex, or raw: bytes alone
    #[arg(long, default_value = "text", hide_possible_values = true)]
    format: Format,
    /// End after so long without a message
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = time::seconds,
        allow_negative_numbers = true
    )]
    timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ModeName {
    Lossy,
    Reliable,
}

/// Prints until there is a reason to end.
///
/// # Errors
/// When the topic cannot be had, nothing more can come from it, or too little came in time.
pub(crate) fn run(options: &Options) -> Result<()> {
    let interrupt = Interrupt::install()?;
    let topic = options.address.open()?;
    let mut settings = topic.subscribe().start_at(options.from).mode(match options.mode {
        ModeName::Lossy => Mode::Lossy,
        ModeName::Reliable => Mode::Reliable,
    });
    if let Some(partition) = options.address.partition {
        settings = settings.partition(partition);
    }
    let subscriber =
        settings.open().with_context(|| format!("cannot subscribe to {}", options.address))?;
    let has_several = topic.partitions() > 1;
    let mut reading = Reading {
        printer: Printer::new(options.format, vec![options.address.topic_name()], has_several),
        count: 0,
        count_max: options.count.unwrap_or(u64::MAX),
        has_progress: false,
        output: Ok(()),
        ended: 0,
    };
    let end = reading.follow(subscriber, &interrupt, options.timeout)?;
    unless_abandoned(reading.output.and_then(|()| reading.printer.flush()))?;
    if reading.ended > 0 {
        let partitions = options.address.partition.map_or(topic.partitions(), |_| 1);
        bail!("{} of {partitions} partitions had ended: see above", reading.ended);
    }
    match (end, options.count) {
        (End::TimedOut, Some(wanted)) if reading.count < wanted => {
            bail!("no message for too long: {} of {wanted} came", reading.count)
        }
        _ => Ok(()),
    }
}

/// Why nothing more is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// As many as were wanted, or as long as anybody wanted them, or as long as any could come.
    Done,
    /// Nothing came for too long.
    TimedOut,
}

struct Reading {
    printer: Printer,
    count: u64,
    count_max: u64,
    /// Whether something was printed since this was last looked at.
    has_progress: bool,
    output: io::Result<()>,
    /// The partitions from which nothing more comes.
    ended: u32,
}

impl Reading {
    fn follow(
        &mut self,
        mut subscriber: Subscriber,
        interrupt: &Interrupt,
        timeout: Option<Duration>,
    ) -> Result<End> {
        let mut quiet_since = Instant::now();
        while !interrupt.is_raised() && self.wants_more() {
            let polled = subscriber.poll(POLL_LIMIT, |event| self.take(event));
            if std::mem::take(&mut self.has_progress) {
                quiet_since = Instant::now();
            }
            if polled > 0 {
                continue;
            }
            if subscriber.is_finished() {
                break;
            }
            self.output = self.printer.flush();
            if self.output.is_err() || self.printer.is_abandoned() {
                break;
            }
            let mut patience = LOOK_AT_LEAST_EVERY;
            if let Some(timeout) = timeout {
                let left = timeout.saturating_sub(quiet_since.elapsed());
                if left.is_zero() {
                    return Ok(End::TimedOut);
                }
                patience = patience.min(left);
            }
            if let Some(event) = subscriber.receive(Some(patience))? {
                self.take(event);
            }
        }
        Ok(End::Done)
    }

    fn wants_more(&self) -> bool {
        self.count < self.count_max && self.output.is_ok()
    }

    fn take(&mut self, event: Event<'_>) -> Flow {
        match event {
            Event::Message(message) => {
                self.has_progress = true;
                self.count += 1;
                self.output = self.printer.message(&message);
            }
            Event::Notice(notice) => self.take_notice(notice),
        }
        if self.wants_more() { Flow::Next } else { Flow::Stop }
    }

    fn take_notice(&mut self, notice: Notice) {
        let Notice { origin, kind } = notice;
        match kind {
            NoticeKind::Lost { from, to, cause } => {
                self.has_progress = true;
                self.output = self.printer.loss(origin, from, to, cause);
            }
            kind => {
                self.ended += u32::from(kind.is_final());
                self.printer.notice(origin, &kind);
            }
        }
    }
}
