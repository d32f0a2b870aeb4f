//! `tickcast-peers` as users run it: everybody that was compiled in takes part and is measured, and
//! nothing stays behind. No test looks at a time.
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::thread::sched_getaffinity;
use serde_json::Value;
use tickcast_harness::BUILT_IN;
use tickcast_peers::CATALOGUE;

/// Its driver spins, and the other two are measured.
const NEEDS_A_THIRD_CORE: &str = "aeron spinning";

/// All runs use the same two cores.
fn alone() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(place: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tickcast-peers"))
        .args(arguments)
        .env("TICKCAST_DIR", place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the names of all that a run has begin with, and where its directory is.
fn name_of(run: &Child) -> String {
    format!("tickcast-bench-{}", run.id())
}

fn left_in_shared_memory(name: &str) -> Vec<String> {
    let entries = fs::read_dir("/dev/shm").unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|found| found.starts_with(name)).collect()
}

/// The command lines of processes that serve a run: its far side, and Aeron's driver.
fn helpers(name: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(&format!("/{name}"))).collect()
}

/// Waits until it holds; for ever, if it never does.
fn wait_until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn all_peers_are_measured_and_nothing_is_left() {
    let _alone = alone();
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("report.json");
    let json = path.to_str().unwrap();
    let run = start(place.path(), &["--seconds", "1", "--payload", "48", "--json", json]);
    let name = name_of(&run);
    let output = run.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(left_in_shared_memory(&name), [""; 0]);
    assert_eq!(helpers(&name), [""; 0]);

    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let goals = report["summary"]["goals"].as_array().unwrap();
    let goals: Vec<&str> = goals.iter().map(|goal| goal["goal"].as_str().unwrap()).collect();
    let expected = [
        "tickcast ahead of every peer of this run at p50, 48 B",
        "no peer of this run ahead of tickcast at p99, 48 B",
        "no peer of this run ahead of tickcast at p99.9, 48 B",
        "tickcast ahead of every peer of this run in messages/s, 48 B",
    ];
    assert_eq!(goals, expected);
    for goal in goals {
        assert!(text.contains(&format!("\ngoal: {goal}: ")), "{goal}: {text}");
    }
    let peers = report["summary"]["peers"].as_object().unwrap();
    for peer in &CATALOGUE[BUILT_IN.len()..] {
        let is_it = |name: &str| name.split(',').next() == Some(peer.name);
        let found: Vec<&Value> =
            peers.iter().filter_map(|(name, peer)| is_it(name).then_some(peer)).collect();
        if peer.name == NEEDS_A_THIRD_CORE && sched_getaffinity(None).unwrap().count() < 3 {
            assert!(found.is_empty(), "{}: {peers:?}", peer.name);
            let lines = report["left_out"].as_array().unwrap().iter().filter_map(Value::as_str);
            let is_it = |line: &&str| line.starts_with(&format!("{}: left out: ", peer.name));
            assert_eq!(lines.filter(is_it).count(), 1, "{report}");
            continue;
        }
        assert_eq!(found.len(), peer.places.len(), "{}: {peers:?}", peer.name);
        for found in found {
            let is_good = |figure: &Value| figure.as_f64().is_some_and(|it| it > 0.0);
            let rate = &found["messages_per_s"];
            assert!(peer.streams || rate.is_null(), "{}: {found}", peer.name);
            let are_good =
                is_good(&found["round_trip_ns"]["p50"]) && (is_good(rate) || !peer.streams);
            if !are_good {
                // On a restless host blocks do not count, and then there may be no figure.
                assert!(is_restless(&report), "{}: {found}", peer.name);
                eprintln!("skipped the figures of {}: no block counts", peer.name);
            }
        }
    }
}

/// Whether any block was left out, or the host was in several states.
fn is_restless(report: &Value) -> bool {
    let rounds = report["rounds"].as_array().unwrap();
    let mut blocks = rounds.iter().flat_map(|round| round["blocks"].as_array().unwrap());
    blocks.any(|block| block["verdict"] != "counts")
        || report["regimes"].as_array().unwrap().len() > 1
}

#[test]
fn what_it_started_ends_with_it_however_it_ends() {
    let _alone = alone();
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let arguments = ["--seconds", "600", "--payload", "48"];
    let mut run = start(place.path(), &arguments);
    let name = name_of(&run);
    let is_far_side = |line: &String| line.contains("bench-far-side");
    wait_until(|| helpers(&name).iter().any(is_far_side));
    run.kill().unwrap();
    run.wait().unwrap();
    wait_until(|| helpers(&name).is_empty());
    // What a killed run has left in shared memory is removed by the next one.
    let next = start(place.path(), &["--seconds", "1", "--payload", "48", "--peers", "iceoryx2"]);
    let output = next.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(left_in_shared_memory(&name), [""; 0]);
}
