//! A subscriber in a process of its own, and the parent's hold on it: change here what the two say
//! to each other.
//!
//! Orders come as lines of JSON through the child's standard input, reports go back through its
//! standard output. The end of the input tells the child that its parent is gone, however it went:
//! it then removes the bus and exits. It is in a process group of its own, so that an interrupt
//! from the terminal ends the parent alone and the children tidy up.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{self, Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tickcast::Bus;

use super::places::strategy;
use super::received::Outcome;
use super::subscription::{End, Subscription};
use super::{SUBSCRIBER_COMMAND, SubscriberOptions, TOPIC};
use tickcast_harness::cores::pin;

/// A child that says nothing for this long, when it is its turn, is given up.
const REPORT_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Order {
    /// The bus was made: from now on it is to be removed if the parent is gone.
    TidyUp,
    /// Subscribe; so many messages will be paced.
    Subscribe { paced: u64 },
    /// Finish after so many messages.
    Finish { messages: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Subscribed,
    Received(Outcome),
}

/// What a child process does.
///
/// # Errors
/// When it cannot subscribe, or report.
pub(super) fn run(options: &SubscriberOptions) -> Result<()> {
    let end = Arc::new(End::unknown());
    let (sender, subscribe) = mpsc::channel();
    let (bus, told) = (options.bus.clone(), end.clone());
    thread::spawn(move || {
        let mut tidy_up = false;
        for line in io::stdin().lines() {
            match line.map(|line| serde_json::from_str(&line)) {
                Ok(Ok(Order::TidyUp)) => tidy_up = true,
                Ok(Ok(Order::Subscribe { paced })) => drop(sender.send(paced)),
                Ok(Ok(Order::Finish { messages })) => told.tell(messages),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        if tidy_up {
            // A sibling may have been faster.
            let _ = Bus::remove(&bus, true);
        }
        process::exit(1);
    });

    if let Some(core) = options.core {
        pin(core)?;
    }
    // Its sender ends with the process.
    let paced = subscribe.recv().context("the parent process gave no orders")?;
    let bus = Bus::open(&options.bus)?;
    let subscription = Subscription::open(&bus.open_topic(TOPIC)?, strategy(options.core), paced)?;
    send(&mut io::stdout().lock(), &Report::Subscribed)?;
    let outcome = subscription.run(&end);
    send(&mut io::stdout().lock(), &Report::Received(outcome))
}

/// A child process, killed when this is dropped.
pub(super) struct Peer {
    child: Child,
    orders: ChildStdin,
    reports: Receiver<Report>,
}

impl Peer {
    /// Starts this binary again as a subscriber of `bus`, on `core` if it gets one to itself.
    ///
    /// # Errors
    /// When the binary cannot be started.
    pub(super) fn start(bus: &str, core: Option<usize>) -> Result<Self> {
        let binary = env::current_exe().context("cannot find this binary to start it again")?;
        let mut command = Command::new(&binary);
        command.arg(SUBSCRIBER_COMMAND).arg(bus).process_group(0);
        if let Some(core) = core {
            command.arg("--core").arg(core.to_string());
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().with_context(|| {
                format!("cannot start {} {SUBSCRIBER_COMMAND}", binary.display())
            })?;
        let orders = child.stdin.take().context("the child has no standard input")?;
        let output = child.stdout.take().context("the child has no standard output")?;
        let (sender, reports) = mpsc::channel();
        // Ends with the child's output.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(report) = serde_json::from_str(&line) else { break };
                if sender.send(report).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, orders, reports })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Says that the bus was made.
    pub(super) fn tidy_up(&mut self) -> Result<()> {
        self.order(Order::TidyUp)
    }

    /// Has it subscribe.
    pub(super) fn subscribe(&mut self, paced: u64) -> Result<()> {
        self.order(Order::Subscribe { paced })
    }

    /// Waits until it has subscribed.
    pub(super) fn subscribed(&mut self) -> Result<()> {
        match self.report()? {
            Report::Subscribed => Ok(()),
            Report::Received(_) => bail!("a subscriber process reports before it has subscribed"),
        }
    }

    /// Tells it the end.
    pub(super) fn finish(&mut self, messages: u64) -> Result<()> {
        self.order(Order::Finish { messages })
    }

    /// Waits for what it received.
    pub(super) fn received(&mut self) -> Result<Outcome> {
        match self.report()? {
            Report::Received(outcome) => Ok(outcome),
            Report::Subscribed => {
                bail!("a subscriber process reports twice that it has subscribed")
            }
        }
    }

    fn order(&mut self, order: Order) -> Result<()> {
        send(&mut self.orders, &order).with_context(|| self.has_ended())
    }

    fn report(&mut self) -> Result<Report> {
        match self.reports.recv_timeout(REPORT_TIMEOUT) {
            Ok(report) => Ok(report),
            Err(RecvTimeoutError::Disconnected) => bail!("{}", self.has_ended()),
            Err(RecvTimeoutError::Timeout) => bail!(
                "subscriber process {} says nothing for {} s; is it stopped?",
                self.child.id(),
                REPORT_TIMEOUT.as_secs()
            ),
        }
    }

    fn has_ended(&self) -> String {
        format!("subscriber process {} has ended early; its own message is above", self.child.id())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It holds nothing worth a goodbye. Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(to: &mut impl Write, message: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(message).context("cannot write JSON")?;
    line.push(b'\n');
    to.write_all(&line).and_then(|()| to.flush()).context("cannot write to a pipe")
}
