//! `tickcast demo` as users run it: what it prints, and what it leaves behind when it is killed.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const CHILDREN: usize = 3;

/// Long beyond what anything here takes: a test that fails by it waited for what never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place for buses that nobody else uses.
fn place() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn demo(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
    command.arg("demo").args(arguments).env("TICKCAST_DIR", place).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The live child processes of the demonstration with this pid. A zombie has no command line.
fn children(parent: u32) -> Vec<u32> {
    let bus = format!("demo-{parent}");
    let is_child = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0);
        words.any(|word| word == b"demo-subscriber") && words.any(|word| word == bus.as_bytes())
    };
    names_in(Path::new("/proc"))
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter(is_child)
        .collect()
}

#[track_caller]
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A demonstration that is playing, in a process group of its own; killed when this is dropped.
struct Playing {
    demo: Option<Child>,
    pid: u32,
    children: Vec<u32>,
}

impl Playing {
    /// Starts it, and waits until its children have opened what is in `place`.
    fn start(place: &Path, seconds: &str) -> Self {
        let mut command = demo(place, &["--seconds", seconds]);
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let demo = command.spawn().unwrap();
        let pid = demo.id();
        let mut playing = Self { demo: Some(demo), pid, children: Vec::new() };
        let has_opened = |child: &u32| {
            let files = fs::read_dir(format!("/proc/{child}/fd")).into_iter().flatten().flatten();
            let mut paths = files.filter_map(|file| fs::read_link(file.path()).ok());
            paths.any(|path| path.starts_with(place))
        };
        wait_for("children that have subscribed", || {
            playing.children = children(pid);
            playing.children.len() == CHILDREN && playing.children.iter().all(has_opened)
        });
        playing
    }

    fn wait(mut self) -> Output {
        self.demo.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        if let Some(mut demo) = self.demo.take() {
            let _ = demo.kill();
            let _ = demo.wait();
        }
    }
}

/// Sends `signal` to a process, or to the group of a negative one.
fn send(signal: &str, process: i64) {
    let status =
        Command::new("sh").arg("-c").arg(format!("kill -s {signal} -- {process}")).status();
    assert!(status.unwrap().success());
}

fn wait_until_nothing_is_left(place: &Path, demo: u32) {
    wait_for("the end of the children", || children(demo).is_empty());
    wait_for("the removal of the bus", || names_in(place).is_empty());
}

#[track_caller]
fn assert_verified(output: &Output, place: &Path) -> String {
    let text = text(output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("5 of 5 subscribers got all"), "{text}");
    let rows = text.lines().filter(|line| line.ends_with("  ok"));
    assert_eq!(rows.count(), 5, "{text}");
    assert!(text.lines().any(|line| line.starts_with("bare hand-off, before")), "{text}");
    assert!(!text.contains("FAILED"), "{text}");
    assert!(output.stderr.is_empty(), "progress is for terminals only: {text}");
    assert_eq!(names_in(place), [""; 0], "the bus is removed");
    text
}

fn play_file(file: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(file);
    if !path.exists() {
        // Not by `eprintln!`, which is not shown of a test that passes.
        let _ = writeln!(io::stderr(), "skipped: {} is not there", path.display());
        return None;
    }
    let place = place();
    let arguments = ["--seconds", "1", "--input", path.to_str().unwrap()];
    let output = demo(place.path(), &arguments).output().unwrap();
    Some(assert_verified(&output, place.path()))
}

#[test]
fn plays_generated_order_flow_without_any_setup() {
    let place = place();
    let output = demo(place.path(), &["--seconds", "1"]).output().unwrap();
    let text = assert_verified(&output, place.path());
    assert!(text.contains("generated ITCH 5.0 order flow"), "{text}");
    assert!(text.contains("200,000 messages"), "{text}");
    let cores = thread::available_parallelism().unwrap().get();
    assert_eq!(text.contains("OVERSUBSCRIBED"), cores < 6, "{text}");
}

#[test]
fn plays_a_compressed_capture_by_datagrams() {
    let Some(text) = play_file("iex/TOPS16.pcap.gz") else { return };
    assert!(text.contains("one message per UDP datagram"), "{text}");
    assert!(text.contains("13,022 messages"), "{text}");
}

#[test]
fn plays_a_small_length_prefixed_file_many_times() {
    let Some(text) = play_file("itch/sample.itch") else { return };
    assert!(text.contains("length-prefixed"), "{text}");
    assert!(text.contains("played     1,000 messages, "), "{text}");
}

#[test]
fn says_that_a_file_is_cut_and_plays_what_there_is() {
    let place = place();
    let files = tempfile::tempdir().unwrap();
    let path: PathBuf = files.path().join("cut");
    fs::write(&path, b"\x00\x05first\x00\x06second\x00\x09cut").unwrap();
    let arguments = ["--seconds", "1", "--input", path.to_str().unwrap()];
    let output = demo(place.path(), &arguments).output().unwrap();
    let text = assert_verified(&output, place.path());
    assert!(text.contains("INCOMPLETE: the input ends inside a record"), "{text}");
    assert!(text.contains("played     2 messages, "), "{text}");
}

#[test]
fn an_input_without_messages_is_an_error_that_names_it() {
    let place = place();
    for file in ["/dev/null", "/no/such/file"] {
        let output = demo(place.path(), &["--input", file]).output().unwrap();
        let text = text(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(file), "{text}");
    }
}

#[test]
fn killed_it_leaves_no_children_and_no_bus() {
    let place = place();
    let playing = Playing::start(place.path(), "600");
    let pid = playing.pid;
    send("KILL", pid.into());
    playing.wait();
    wait_until_nothing_is_left(place.path(), pid);
}

#[test]
fn interrupted_from_a_terminal_it_leaves_no_children_and_no_bus() {
    // To the process group, as the terminal does; to the process, as `kill` does.
    for (signal, sign) in [("INT", -1), ("TERM", 1)] {
        let place = place();
        let playing = Playing::start(place.path(), "600");
        let pid = playing.pid;
        send(signal, sign * i64::from(pid));
        let output = playing.wait();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "tickcast: interrupted\n");
        assert_eq!(names_in(place.path()), [""; 0], "the bus is removed");
        assert_eq!(children(pid), [0; 0], "the children are gone");
    }
}

#[test]
fn the_death_of_a_subscriber_is_a_failure() {
    let place = place();
    let playing = Playing::start(place.path(), "1");
    let (pid, child) = (playing.pid, playing.children[1]);
    send("KILL", child.into());
    let output = playing.wait();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("process {child} has ended early")), "{text}");
    wait_until_nothing_is_left(place.path(), pid);
}

#[test]
fn a_subscriber_that_stops_reading_is_named() {
    let place = place();
    let playing = Playing::start(place.path(), "1");
    let (pid, child) = (playing.pid, playing.children[2]);
    send("STOP", child.into());
    let output = playing.wait();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("process {child}")), "{text}");
    wait_until_nothing_is_left(place.path(), pid);
}
