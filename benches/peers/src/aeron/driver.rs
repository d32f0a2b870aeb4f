//! Aeron's media driver: a process of its own, one for each run and way to wait, that dies with the
//! process that started it. Change here how it is set up.
//!
//! It is this binary, started again. Its standard input is a pipe from its parent: each byte is an
//! order to rest or to go on, answered where standard output was, and the end of that is its own
//! end, however the parent ended.
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, hint};

use anyhow::{Context, Result, ensure};
use rusteron_media_driver::bindings::aeron_threading_mode_enum;
use rusteron_media_driver::{AeronDriver, AeronDriverContext};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::statvfs;
use rustix::io::{read, retry_on_intr};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tickcast_harness::answers::{Answers, put_stdout_aside, say};
use tickcast_harness::transport::Run;

use super::{FOREVER, PATIENCE, c_path, told};

/// The hidden subcommand under which a binary plays the driver; [`play`] is what it does.
pub const DRIVER_COMMAND: &str = "aeron-driver";

/// The binary that plays the driver, where it is not this one.
pub static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// A stream has three terms of this size.
const TERM_BYTES: usize = 32 << 20;
const STREAM_BYTES: u64 = 3 * TERM_BYTES as u64;
/// How long a sleeping driver sleeps when there is nothing to do: at first, and twice as long each
/// time, up to so many times.
const IDLE: Duration = Duration::from_micros(100);
const IDLE_DOUBLINGS: u32 = 4;
/// A spinning driver looks for orders each time that it found so often nothing to do.
const SPINS: u32 = 1 << 12;
/// The orders.
const WAKE: u8 = b'w';
const REST: u8 = b'r';
/// What it says when it has done what it was to do.
const READY: &str = "ready";
/// How long it may take to end.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// How a driver runs.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Setting {
    /// Where it is.
    directory: PathBuf,
    /// The cores that it may use.
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// Whether it never sleeps.
    #[arg(long)]
    spins: bool,
}

/// A driver that is running.
pub(super) struct Driver {
    process: Child,
    directory: PathBuf,
    streams: AtomicI32,
    /// Nothing once it is to end.
    line: Mutex<Option<Line>>,
}

/// What goes to and fro between a driver and its parent.
struct Line {
    orders: ChildStdin,
    answers: Answers,
}

impl Line {
    /// Sends an order, and waits until it is done.
    fn order(&mut self, order: &[u8]) -> Result<()> {
        self.orders.write_all(order).context("Aeron's media driver has ended")?;
        let answer: Option<String> = self.answers.hear(PATIENCE).context("Aeron's media driver")?;
        let answer = answer.context("Aeron's media driver has ended; what it said is above")?;
        ensure!(answer == READY, "Aeron's media driver says {answer}");
        Ok(())
    }
}

/// Where the driver of a run is that spins, or does not.
pub(super) fn directory(run: &Run, spins: bool) -> PathBuf {
    run.directory.join(if spins { "aeron-spinning" } else { "aeron" })
}

/// The cores that a driver may use: those that are not measured. If nobody said which are, they
/// are the first two.
fn spare_cores(run: &Run) -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    let mut allowed: Vec<usize> =
        (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    match run.cores {
        Some(cores) => allowed.retain(|&core| core != cores.near && core != cores.far),
        None => drop(allowed.drain(..allowed.len().min(2))),
    }
    Ok(allowed)
}

impl Driver {
    /// The driver of this run that spins, or does not; started for the first that asks.
    ///
    /// # Errors
    /// When it cannot be started, or there is no core for it to spin on.
    pub(super) fn of(run: &Run, spins: bool) -> Result<Arc<Self>> {
        static DRIVERS: Mutex<Vec<Weak<Driver>>> = Mutex::new(Vec::new());
        let mut drivers = DRIVERS.lock().unwrap_or_else(PoisonError::into_inner);
        drivers.retain(|driver| driver.strong_count() > 0);
        let directory = directory(run, spins);
        let known = drivers.iter().filter_map(Weak::upgrade);
        if let Some(driver) = { known }.find(|driver| driver.directory == directory) {
            return Ok(driver);
        }
        let cores = spare_cores(run)?;
        ensure!(
            !spins || !cores.is_empty(),
            "its driver spins, and there is no core but the two that are measured"
        );
        let driver = Arc::new(Self::start(Setting { directory, cores, spins })?);
        drivers.push(Arc::downgrade(&driver));
        Ok(driver)
    }

    fn start(setting: Setting) -> Result<Self> {
        let Setting { directory, cores, spins } = setting;
        let binary = BINARY.get().map_or_else(env::current_exe, |binary| Ok(binary.clone()));
        let binary = binary.context("cannot find this binary to start it again")?;
        let mut command = Command::new(&binary);
        command.arg(DRIVER_COMMAND).arg(&directory);
        if !cores.is_empty() {
            let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
            command.arg("--cores").arg(cores.join(","));
        }
        if spins {
            command.arg("--spins");
        }
        let mut process = command
            // An interrupt from the terminal is for its parent, which ends it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {} {DRIVER_COMMAND}", binary.display()))?;
        let orders = process.stdin.take().context("the driver has no input")?;
        let answers = process.stdout.take().context("the driver has no output")?;
        let line = Mutex::new(Some(Line { orders, answers: Answers::of(answers) }));
        // Whole before it is waited for: if it does not answer, it is ended.
        let driver = Self { process, directory, streams: AtomicI32::new(0), line };
        // Its first answer takes no order.
        driver.order(&[])?;
        Ok(driver)
    }

    /// Has it work, if it rests.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn wake(&self) -> Result<()> {
        self.order(&[WAKE])
    }

    /// Has it rest: from here on it does nothing at all.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn rest(&self) -> Result<()> {
        self.order(&[REST])
    }

    fn order(&self, order: &[u8]) -> Result<()> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let done = line.as_mut().context("Aeron's media driver was ended")?.order(order);
        if done.is_err() {
            // It is ended: a late answer is not to be taken for the next one.
            *line = None;
        }
        done
    }

    /// The number of a new stream.
    ///
    /// # Errors
    /// When shared memory does not hold it: the far side, which makes half of them, would fail.
    pub(super) fn next_stream(&self) -> Result<i32> {
        let number = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        let system = statvfs(&self.directory)?;
        // Of those before, half are there already: the near side makes its own at once.
        let to_come = (number - (number - 1) / 2) as u64;
        let (needed, free) = (to_come * STREAM_BYTES, system.f_bavail * system.f_frsize);
        ensure!(
            needed <= free,
            "shared memory is too small: {to_come} more streams take {} MiB, and {} MiB are free",
            needed >> 20,
            free >> 20
        );
        Ok(number)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.line.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        let start = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if start.elapsed() > END_PATIENCE {
                // Errors mean that it has ended after all.
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Plays the driver until the end of standard input.
///
/// # Errors
/// When it cannot start, or fails.
pub fn play(setting: &Setting) -> Result<()> {
    // First: what the library prints is no answer.
    let mut answers = put_stdout_aside()?;
    if !setting.cores.is_empty() {
        let mut cores = CpuSet::new();
        setting.cores.iter().for_each(|&core| cores.set(core));
        sched_setaffinity(None, &cores).context("cannot run on the cores that were named")?;
    }
    let driver = set_up(&setting.directory)?;
    let mut idle: u32 = 0;
    // Once everything is done that it came to.
    let mut owes_answer = true;
    loop {
        if driver.main_do_work().map_err(told("the media driver failed"))? > 0 {
            idle = 0;
            continue;
        }
        if owes_answer && !say_ready(&mut answers) {
            return Ok(());
        }
        owes_answer = false;
        idle = idle.saturating_add(1);
        let patience = match setting.spins {
            true if idle < SPINS => {
                hint::spin_loop();
                continue;
            }
            true => Duration::ZERO,
            false => IDLE * (1 << (idle - 1).min(IDLE_DOUBLINGS)),
        };
        if has_order(patience)? {
            if !obey(&mut answers)? {
                return Ok(());
            }
            owes_answer = true;
        }
        // A spinning driver counts anew, and one that was woken sleeps briefly at first.
        if owes_answer || setting.spins {
            idle = 0;
        }
    }
}

fn set_up(directory: &Path) -> Result<AeronDriver> {
    let fails = told("the media driver cannot be set up");
    let context = AeronDriverContext::new().map_err(&fails)?;
    context.set_dir(&c_path(directory)?).map_err(&fails)?;
    context.set_dir_delete_on_start(true).map_err(&fails)?;
    context.set_dir_delete_on_shutdown(true).map_err(&fails)?;
    let all_in_one_thread = aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED;
    context.set_threading_mode(all_in_one_thread).map_err(&fails)?;
    // Terms are allocated and touched when they are made, and not when they are first used.
    context.set_term_buffer_sparse_file(false).map_err(&fails)?;
    context.set_ipc_term_buffer_length(TERM_BYTES).map_err(&fails)?;
    // Clients say nothing between blocks, and this one nothing while it rests.
    let forever_ns = FOREVER.as_nanos() as u64;
    context.set_client_liveness_timeout_ns(forever_ns).map_err(&fails)?;
    context.set_publication_unblock_timeout_ns(2 * forever_ns).map_err(&fails)?;
    let driver = AeronDriver::new(&context).map_err(&fails)?;
    // That thread is this one.
    driver.start(true).map_err(&fails)?;
    Ok(driver)
}

/// Whether there is an order, or the end of orders, before so much time has passed.
fn has_order(within: Duration) -> Result<bool> {
    let input = io::stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    let within = Timespec::try_from(within)?;
    Ok(retry_on_intr(|| poll(&mut polled, Some(&within)))? > 0)
}

/// Rests if that is ordered, until it is to go on; whether it is to go on at all.
fn obey(answers: &mut File) -> Result<bool> {
    loop {
        let mut order = [0];
        let is_over = retry_on_intr(|| read(io::stdin(), &mut order))? == 0;
        if is_over || (order == [REST] && !say_ready(answers)) {
            return Ok(false);
        }
        if order == [WAKE] {
            return Ok(true);
        }
    }
}

/// Whether there is still somebody to say it to.
fn say_ready(answers: &mut File) -> bool {
    say(answers, &READY).is_ok()
}
