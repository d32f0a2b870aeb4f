//! A directory of buses of its own, and the command, or a part of a test, run in it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Place {
    dir: TempDir,
}

/// What a command that ended has left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// A command that runs; it is killed when a test fails before it ended.
pub(crate) struct Running {
    child: Guard,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Set where a test is run again for a part of it.
const PART: &str = "TICKCAST_TEST_PART";

/// Whether this process was started by [`Place::play_part`].
pub(crate) fn is_part() -> bool {
    env::var_os(PART).is_some()
}

/// A file of real data; where there is none, says that the test is skipped.
pub(crate) fn data(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(file);
    if path.exists() {
        return Some(path);
    }
    // Not by `eprintln!`, which is not shown of a test that passes.
    let _ = writeln!(io::stderr(), "skipped: {} is not there", path.display());
    None
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir_in("/dev/shm").unwrap() }
    }

    /// Runs `tickcast` with `arguments`, separated by blanks.
    pub(crate) fn run(&self, arguments: &str) -> Outcome {
        self.run_with(arguments, b"")
    }

    pub(crate) fn run_with(&self, arguments: &str, input: &[u8]) -> Outcome {
        let mut running = self.start(arguments);
        let mut stdin = running.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = thread::spawn(move || {
            // A command that refuses its arguments does not read.
            let _ = stdin.write_all(&input);
        });
        let outcome = running.outcome();
        writer.join().unwrap();
        outcome
    }

    /// Runs the test of this name again, in a process that finds its buses here: what the library
    /// does but the command does not.
    pub(crate) fn play_part(&self, test: &str) {
        let status = Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--quiet"])
            .env(PART, "1")
            .env("TICKCAST_DIR", self.dir.path())
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        assert!(fs::read_dir(self.dir.path()).unwrap().count() > 0, "there is no test {test}");
    }

    /// Runs it and has it succeed.
    pub(crate) fn done(&self, arguments: &str) -> Vec<u8> {
        self.run(arguments).done()
    }

    pub(crate) fn publish(&self, arguments: &str, input: &[u8]) {
        assert_eq!(self.run_with(arguments, input).done(), b"");
    }

    pub(crate) fn start(&self, arguments: &str) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tickcast"))
            .args(arguments.split_whitespace())
            .env("TICKCAST_DIR", self.dir.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running { child: Guard(child), stdin, stdout }
    }

    /// Waits until somebody has made the topic.
    pub(crate) fn wait_for_topic(&self, topic: &str) {
        wait(topic, || self.run(&format!("stat {topic}")).code == Some(0));
    }

    /// Waits until a partition's counters are as wanted.
    pub(crate) fn wait_for_stat(&self, partition: &str, is_wanted: impl Fn(&Value) -> bool) {
        wait(partition, || {
            let stat = self.done(&format!("stat {partition} --json"));
            is_wanted(&json_lines(&stat)[0])
        });
    }
}

/// Looks until it is so, or for so long that it never will be.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} never gets there");
}

impl Outcome {
    pub(crate) fn done(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Asserts that it failed with `code` and said `what`.
    pub(crate) fn failed(self, code: i32, what: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(what), "{what:?} is not in {:?}", self.stderr);
    }
}

impl Running {
    pub(crate) fn write(&mut self, input: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(input).unwrap();
        stdin.flush().unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Stops it, and waits until it stands still.
    pub(crate) fn stop(&self) {
        self.signal("STOP");
        let path = format!("/proc/{}/stat", self.pid());
        wait("a stopped process", || fs::read_to_string(&path).unwrap().contains(") T "));
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Closes the reading end of its standard output.
    pub(crate) fn stop_reading(self) -> Outcome {
        let Self { mut child, stdin, stdout } = self;
        let stderr = child.0.stderr.take().unwrap();
        drop(stdout);
        let stderr = io::read_to_string(stderr).unwrap();
        drop(stdin);
        Outcome { code: child.0.wait().unwrap().code(), stdout: Vec::new(), stderr }
    }

    /// Waits for its end with its standard input open, if it was not closed before.
    pub(crate) fn outcome(self) -> Outcome {
        let Self { mut child, stdin, mut stdout } = self;
        let stderr = child.0.stderr.take().unwrap();
        let stderr = thread::spawn(move || io::read_to_string(stderr).unwrap());
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).unwrap();
        let code = child.0.wait().unwrap().code();
        drop(stdin);
        Outcome { code, stdout: rest, stderr: stderr.join().unwrap() }
    }
}

pub(crate) fn json_lines(text: &[u8]) -> Vec<Value> {
    let lines = str::from_utf8(text).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}
