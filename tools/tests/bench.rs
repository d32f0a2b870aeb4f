//! `tickcast bench` as users run it: what it finds has the promised form. No test looks at a time.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// All runs use the same two cores.
fn alone() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bench(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
    command.arg("bench").args(arguments).env("TICKCAST_DIR", place).stdin(Stdio::null());
    command
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs a benchmark for a second; checks what all have in common.
fn run(name: &str, contenders: &[&str], count: &str, goals: usize) {
    let _alone = alone();
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("report.json");
    let arguments = [name, "--seconds", "1", "--json", path.to_str().unwrap()];
    let output = bench(place.path(), &arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names_in(place.path()), [""; 0], "the bus is removed");

    let report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    assert_eq!(list(&report["contenders"]), contenders);
    let columns = list(&report["columns"]).len();
    let rounds = list(&report["rounds"]);
    assert!(!rounds.is_empty());
    for round in &rounds {
        assert!(round["opening"]["samples"].as_u64().unwrap() > 0, "{round}");
        assert!(list(&round["blocks"]).iter().all(|block| block[count].as_u64().unwrap() > 0));
        let judged = list(&round["judged"]);
        assert_eq!(judged.len(), contenders.len());
        assert!(judged.iter().all(|block| list(&block["figures"]).len() == columns));
    }
    let text = String::from_utf8(output.stdout).unwrap();
    // On a restless host there may be no settled round, and then no regime.
    for regime in list(&report["summary"]["regimes"]) {
        let rows = list(&regime["rows"]);
        let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, contenders);
        let outcomes = list(&regime["goals"]);
        assert_eq!(outcomes.len(), goals);
        for outcome in outcomes {
            let goal = outcome["goal"].as_str().unwrap();
            assert_eq!(outcome["met"].is_boolean(), outcome["figure"].is_number(), "{outcome}");
            assert!(text.contains(&format!("goal: {goal}: ")), "{goal}: {text}");
        }
    }
}

#[test]
fn latency_has_its_form() {
    let contenders = [
        "bare hand-off",
        "bare hand-off, pausing",
        "bus",
        "bus, pausing",
        "bus, the faster of both",
        "closing hand-off",
    ];
    run("latency", &contenders, "samples", 2);
}

#[test]
fn throughput_has_its_form() {
    let contenders = [
        "rtrb",
        "rtrb, pausing",
        "rtrb, batching",
        "bare stream",
        "bare stream, batching",
        "bus",
        "bus, spinning",
        "bus, in batches",
        "bus, read as copies",
    ];
    run("throughput", &contenders, "messages", 2);
}

#[test]
fn fanout_has_its_form() {
    let contenders = [
        "1 lossy",
        "2 lossy",
        "8 lossy",
        "64 lossy",
        "1 reliable",
        "2 reliable",
        "8 reliable",
        "64 reliable",
    ];
    run("fanout", &contenders, "messages", 1);
}

#[test]
fn interrupted_it_leaves_no_bus() {
    let _alone = alone();
    for (signal, to_group) in [("INT", true), ("TERM", false)] {
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut command = bench(place.path(), &["latency", "--seconds", "600"]);
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = command.spawn().unwrap();
        for _ in 0..6000 {
            if !names_in(place.path()).is_empty() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        assert!(!names_in(place.path()).is_empty(), "the bus is never made");
        // As the terminal does, to all of its process group; or as `kill` does.
        let process =
            if to_group { format!("-{}", running.id()) } else { running.id().to_string() };
        let kill = Command::new("kill").args(["-s", signal, "--", &process]).status().unwrap();
        assert!(kill.success());
        let output = running.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "tickcast: interrupted\n");
        assert_eq!(names_in(place.path()), [""; 0], "the bus is removed");
    }
}

/// Runs a benchmark of a disk for a second; checks what all have in common.
fn run_on_disk(name: &str, trials: &[(&[&str], usize)]) {
    let _alone = alone();
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    // Where the binary was built is a disk, whatever a directory for temporary files is.
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("report.json");
    let arguments = [name, "--seconds", "1", "--json", path.to_str().unwrap(), "--dir"];
    let mut command = bench(place.path(), &arguments);
    let output = command.arg(disk.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names_in(place.path()), [""; 0], "the bus is removed");
    assert_eq!(names_in(disk.path()), [""; 0], "the files are removed");

    let report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let found = list(&report["trials"]);
    assert_eq!(found.len(), trials.len());
    for (found, (contenders, goals)) in found.iter().zip(trials) {
        let mut names = list(&found["contenders"]);
        let columns = list(&found["columns"]).len();
        let rounds = list(&found["rounds"]);
        for round in &rounds {
            assert_eq!(list(round).len(), names.len());
            assert!(list(round).iter().all(|block| list(&block["figures"]).len() == columns));
        }
        // It takes part where it is installed.
        names.retain(|name| name != "fio, never flushed");
        assert_eq!(names, *contenders);
        let is_skipped = list(&found["notes"]).iter().any(|note| note.to_string().contains("skip"));
        if is_skipped {
            eprintln!("skipped, as `bench {name}` says: {}", found["notes"]);
        }
        assert_eq!(rounds.is_empty(), is_skipped, "{found}");
        let outcomes = list(&found["goals"]);
        assert_eq!(outcomes.len(), *goals);
        for outcome in outcomes {
            let goal = outcome["goal"].as_str().unwrap();
            assert_eq!(outcome["met"].is_boolean(), outcome["figure"].is_number(), "{outcome}");
            assert!(text.contains(&format!("goal: {goal}: ")), "{goal}: {text}");
        }
    }
}

#[test]
fn journal_has_its_form() {
    let writing = [
        "bare",
        "bare, never flushed",
        "bare, huge pages",
        "bare, with CRC",
        "bare, with CRC, fed",
        "journal",
        "journal, 48 bytes",
        "bare, fresh",
        "journal, fresh",
    ];
    let cost = ["reader, 1 M/s", "journal, 1 M/s", "reader, 200 k/s", "journal, 200 k/s"];
    let durable = ["bare", "bare, both cores busy", "journal", "journal, flood"];
    run_on_disk("journal", &[(&writing, 2), (&cost, 2), (&durable, 2)]);
}

#[test]
fn replay_has_its_form() {
    let pace = [
        "bare wait, 100 k/s",
        "replay, 100 k/s",
        "replay, 100 k/s, cold",
        "bare wait, 2 k/s",
        "replay, 2 k/s",
    ];
    let warm = ["bare loop", "bare loop, from files", "replay"];
    let (cold, seek) = (["bare reads", "replay"], ["by offset", "by time"]);
    run_on_disk("replay", &[(&warm, 1), (&cold, 1), (&seek, 2), (&pace, 0)]);
}
