//! Aeron's media driver: a process of its own, one for each run, that dies with the process that
//! started it. Change here how it is set up.
//!
//! It is this binary, started again. Its standard input is a pipe from its parent: the end of that
//! is its own end, however the parent ended.
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use rusteron_media_driver::bindings::aeron_threading_mode_enum;
use rusteron_media_driver::{AeronDriver, AeronDriverContext};
use rustix::fs::statvfs;
use tickcast_harness::transport::Run;

use super::{c_path, directory, told};

/// The hidden subcommand under which a binary plays the driver; [`play`] is what it does.
pub const DRIVER_COMMAND: &str = "aeron-driver";

/// The binary that plays the driver, where it is not this one.
pub static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// A stream has three terms of this size.
const TERM_BYTES: usize = 16 << 20;
const STREAM_BYTES: u64 = 3 * TERM_BYTES as u64;
/// How long the driver sleeps when there is nothing to do: at first, and twice as long each time,
/// since it disturbs those who are measured while nobody needs it.
const IDLE_MIN: Duration = Duration::from_micros(100);
const IDLE_MAX: Duration = Duration::from_millis(2);
/// What it says when it is there.
const READY: &str = "ready";
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A driver that is running.
pub(super) struct Driver {
    process: Child,
    directory: PathBuf,
    streams: AtomicI32,
}

/// Where the driver's pid is written.
pub(super) fn pid_path(run: &Run) -> PathBuf {
    run.directory.join("aeron.pid")
}

impl Driver {
    /// The driver of this run; started for the first that asks.
    pub(super) fn of(run: &Run) -> Result<Arc<Self>> {
        static DRIVER: Mutex<Weak<Driver>> = Mutex::new(Weak::new());
        let mut kept = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = directory(run);
        if let Some(driver) = kept.upgrade().filter(|driver| driver.directory == directory) {
            return Ok(driver);
        }
        let driver = Arc::new(Self::start(directory)?);
        fs::write(pid_path(run), driver.process.id().to_string())?;
        *kept = Arc::downgrade(&driver);
        Ok(driver)
    }

    fn start(directory: PathBuf) -> Result<Self> {
        let binary = BINARY.get().map_or_else(env::current_exe, |binary| Ok(binary.clone()));
        let binary = binary.context("cannot find this binary to start it again")?;
        let mut process = Command::new(&binary)
            .arg(DRIVER_COMMAND)
            .arg(&directory)
            // An interrupt from the terminal is for its parent, which ends it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {} {DRIVER_COMMAND}", binary.display()))?;
        let told = process.stdout.take();
        let driver = Self { process, directory, streams: AtomicI32::new(0) };
        let mut line = String::new();
        BufReader::new(told.context("the driver has no output")?).read_line(&mut line)?;
        ensure!(line.trim() == READY, "Aeron's media driver did not start; what it said is above");
        Ok(driver)
    }

    /// The number of a new stream.
    ///
    /// # Errors
    /// When shared memory does not hold it: the far side, which makes half of them, would fail.
    pub(super) fn next_stream(&self) -> Result<i32> {
        let number = self.streams.fetch_add(1, Ordering::Relaxed) + 1;
        let system = statvfs(&self.directory)?;
        // Some of them are there already.
        let (needed, free) = (number as u64 * STREAM_BYTES, system.f_bavail * system.f_frsize);
        ensure!(
            needed <= free,
            "shared memory is too small: its {number} streams take {} MiB, and {} MiB are free",
            needed >> 20,
            free >> 20
        );
        Ok(number)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.process.stdin.take());
        let start = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if start.elapsed() > PATIENCE {
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
pub fn play(directory: &Path) -> Result<()> {
    static IS_ALONE: AtomicBool = AtomicBool::new(false);
    let wait_for_the_end = || {
        // An error is the end of it as well.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        IS_ALONE.store(true, Ordering::Relaxed);
    };
    thread::Builder::new().name("parent".to_owned()).spawn(wait_for_the_end)?;
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
    let driver = AeronDriver::new(&context).map_err(&fails)?;
    // That thread is this one.
    driver.start(true).map_err(&fails)?;
    println!("{READY}");
    let mut idle = IDLE_MIN;
    while !IS_ALONE.load(Ordering::Relaxed) {
        if driver.main_do_work().map_err(told("the media driver failed"))? == 0 {
            thread::sleep(idle);
            idle = (2 * idle).min(IDLE_MAX);
        } else {
            idle = IDLE_MIN;
        }
    }
    Ok(())
}
