//! What the integration tests share: a directory of buses of their own, children, journals, and
//! payloads that show where they came from.
#![allow(dead_code, reason = "each test program uses a part of this")]

pub(crate) mod audit;
pub(crate) mod child;
pub(crate) mod journal;
pub(crate) mod payload;
pub(crate) mod recorded;

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{process, thread};

use tickcast::Bus;

/// The variable that names the directory of all buses.
pub(crate) const ROOT_VARIABLE: &str = "TICKCAST_DIR";

static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// The directory of all buses of this test program; children have their parent's. It is removed
/// when the program ends.
pub(crate) fn root() -> &'static Path {
    ROOT.get_or_init(|| {
        if child::role().is_some() {
            return env::var_os(ROOT_VARIABLE).expect("the parent names it").into();
        }
        let dir = tempfile::Builder::new().prefix("tickcast-test-").tempdir_in("/dev/shm");
        let dir = dir.expect("a directory in shared memory").keep();
        // SAFETY: all that these tests know of the environment they ask the standard library,
        // which has a lock for it.
        unsafe { env::set_var(ROOT_VARIABLE, &dir) };
        thread::spawn(|| {
            thread::sleep(5 * child::HANGING);
            tell("a test hangs: its program is aborted");
            process::abort();
        });
        // SAFETY: the function takes nothing and does not unwind.
        unsafe { libc::atexit(remove_root) };
        dir
    })
}

extern "C" fn remove_root() {
    if let Some(root) = ROOT.get() {
        // Nobody is there any more who could be told of a failure.
        let _ = std::fs::remove_dir_all(root);
    }
}

/// Says that a test, or a part of it, is skipped, and why.
pub(crate) fn skipped(why: impl Display) {
    tell(&format!("skipped: {why}"));
}

/// Writes a line past the test harness, which keeps what a test prints to itself unless it fails.
fn tell(line: &str) {
    // One write, so that lines of several tests do not mix; nobody to tell is no failure.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A bus of one test, removed at its end.
pub(crate) struct TestBus(Bus);

impl TestBus {
    pub(crate) fn new() -> TestBus {
        TestBus(Bus::create(&TestBus::new_name()).expect("a new bus"))
    }

    /// A name that no other test has.
    pub(crate) fn new_name() -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        root();
        format!("bus-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Where a file of its topic `topic` lies.
    pub(crate) fn file(&self, topic: &str, file: &str) -> PathBuf {
        root().join(self.name()).join(topic).join(file)
    }
}

impl Deref for TestBus {
    type Target = Bus;

    fn deref(&self) -> &Bus {
        &self.0
    }
}

impl Drop for TestBus {
    fn drop(&mut self) {
        // A test may have removed it.
        let _ = Bus::remove(self.name(), true);
    }
}

/// A number that differs from run to run, unless `TICKCAST_TEST_SEED` says which; printed, so that
/// a failure can be repeated as far as the machine's timing allows.
pub(crate) fn seed() -> u64 {
    let given = env::var("TICKCAST_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| tickcast::runtime::clock::now_ns() % 1_000_000_007);
    println!("TICKCAST_TEST_SEED={seed}");
    seed
}

/// Random numbers from a seed (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        payload::mix(self.0)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
