//! `tickcast bench` as users run it: what it finds has the promised form. No test looks at a time.

use std::collections::BTreeSet;
use std::fs::{self, File};
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

/// Runs a benchmark of the harness for a second; checks what all have in common. Returns the report
/// and the page.
fn run(name: &str, arguments: &[&str]) -> (Value, String) {
    let _alone = alone();
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let files = tempfile::tempdir().unwrap();
    let [json, hgrm, html] =
        ["run.json", "run.hgrm", "run.html"].map(|name| files.path().join(name));
    let mut command = bench(place.path(), &[name, "--seconds", "1"]);
    command.args(arguments);
    command.arg("--json").arg(&json).arg("--hgrm").arg(&hgrm).arg("--report").arg(&html);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names_in(place.path()), [""; 0], "the bus is removed");

    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let steps = list(&report["steps"]);
    let rounds = list(&report["rounds"]);
    assert!(!rounds.is_empty());
    for round in &rounds {
        let (blocks, handoffs) = (list(&round["blocks"]), list(&round["handoffs"]));
        assert_eq!((blocks.len(), handoffs.len()), (steps.len(), steps.len() + 1));
        assert!(handoffs.iter().all(|times| times["samples"].as_u64() > Some(0)), "{round}");
        for block in &blocks {
            let verdict = block["verdict"].as_str().unwrap();
            assert!(["counts", "unsettled", "beats-the-limit"].contains(&verdict), "{verdict}");
            let count = block["samples"].as_u64().or(block["messages"].as_u64());
            assert!(count.unwrap() > 0, "{block}");
        }
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let page = fs::read_to_string(&html).unwrap();
    let summary = &report["summary"];
    assert_eq!(summary["valid"], list(&summary["invalid_because"]).is_empty(), "{summary}");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    for outside in ["<script", "<link", "src=", "@import"] {
        assert!(!page.contains(outside), "the page refers to nothing outside itself: {outside}");
    }
    let processor = report["machine"]["processor"].as_str().unwrap();
    assert!(page.contains(processor) && text.contains(processor), "{processor}: {text}");
    let regimes = list(&report["regimes"]);
    for of in ["handoff_round_trip_ns", "round_trip_ns", "ratio"] {
        is_told(&report, "tickcast", &summary[of]["p50"]);
    }
    is_told(&report, "tickcast", &summary["messages_per_s"]);
    if summary["payload_bytes"].as_u64() <= Some(48) {
        is_told(&report, "bare stream", &summary["raw_lines_per_s"]);
    }
    for regime in &regimes {
        for section in list(&regime["sections"]) {
            for row in list(&section["rows"]) {
                let columns = list(&section["columns"]).len();
                assert_eq!(list(&row["figures"]).len(), columns, "{row}");
            }
            for outcome in list(&section["goals"]) {
                let goal = outcome["goal"].as_str().unwrap();
                assert_eq!(outcome["met"].is_boolean(), outcome["figure"].is_number(), "{outcome}");
                assert!(text.contains(&format!("goal: {goal}: ")), "{goal}: {text}");
            }
        }
    }
    assert!(page.contains("<polyline"), "there are plots");
    match fs::read_to_string(&hgrm) {
        Ok(hgrm) => assert!(hgrm.contains("1/(1-Percentile)") && hgrm.contains("#[Max"), "{hgrm}"),
        // All blocks were left out: the host was at work.
        Err(_) => assert!(summary["round_trip_ns"]["p50"].is_null(), "{summary}"),
    }
    assert!(files.path().join("run.bare-hand-off.hgrm").exists());
    (report, page)
}

/// A figure of the summary is there and says something, or says that no block behind it counts,
/// which only happens on a restless host.
fn is_told(report: &Value, contender: &str, figure: &Value) {
    if let Some(figure) = figure.as_f64() {
        assert!(figure > 0.0, "{}", report["summary"]);
        return;
    }
    let list = |value: &Value| value.as_array().unwrap().clone();
    let steps = list(&report["steps"]);
    let of_it = |round: Value| {
        let blocks = list(&round["blocks"]).into_iter().zip(steps.clone());
        blocks.filter(|(_, step)| step["contender"] == contender).map(|(block, _)| block)
    };
    let blocks = list(&report["rounds"]).into_iter().flat_map(of_it);
    let left_out = blocks.filter(|block| block["verdict"] != "counts").count();
    let regimes = list(&report["regimes"]).len();
    assert!(left_out > 0 || regimes > 1, "{}", report["summary"]);
    eprintln!("skipped a figure: {left_out} blocks left out, {regimes} states of the host");
}

/// The rows of a report's steps.
fn rows(report: &Value) -> Vec<&str> {
    report["steps"].as_array().unwrap().iter().map(|step| step["row"].as_str().unwrap()).collect()
}

/// Round trips and streams of both.
const BASIC_ROWS: [&str; 6] = [
    "tickcast",
    "tickcast",
    "tickcast, in batches",
    "bare stream",
    "bare stream",
    "bare stream, in batches",
];

#[test]
fn latency_has_its_form() {
    let (report, page) = run("latency", &[]);
    let rows = rows(&report);
    assert_eq!(rows[..6], BASIC_ROWS);
    assert_eq!(rows[6..8], ["tickcast, round trip, 100 k/s", "tickcast, one way, 100 k/s"]);
    assert!(rows.contains(&"tickcast, one way, 10 k/s"), "a sweep begins low: {rows:?}");
    assert!(page.contains("Latency over rate"));
    assert_eq!(report["payload_bytes"].as_u64(), None);
    assert_eq!(report["summary"]["payload_bytes"], 48);
    let clock = &report["clock"];
    assert!(clock["cost_ns"].as_f64().unwrap() > 0.0, "{clock}");
    assert!(report["offset"]["max_ns"].as_f64() >= report["offset"]["min_ns"].as_f64());
}

#[test]
fn latency_takes_what_it_is_told() {
    let arguments = ["--in-process", "--mode", "lossy", "--payload", "112", "--rate", "50000"];
    let (report, _) = run("latency", &arguments);
    assert!(rows(&report).contains(&"tickcast, round trip, 50 k/s"), "{:?}", rows(&report));
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["place"] == "in-process" && step["payload_bytes"] == 112));
}

#[test]
fn throughput_has_its_form() {
    let (report, page) = run("throughput", &["--payload", "48,1KiB"]);
    let rows = rows(&report);
    for row in ["tickcast, 48 B", "bare stream, 48 B", "tickcast, 1 KiB, in batches"] {
        assert!(rows.contains(&row), "{rows:?}");
    }
    assert!(page.contains("Throughput over payload"));
}

#[test]
fn fanout_has_its_form() {
    let (report, page) = run("fanout", &["--subscribers", "1,2,64"]);
    let rows = rows(&report);
    for row in ["1 lossy", "64 lossy", "2 reliable", "64 reliable, polled afterwards"] {
        assert!(rows.contains(&row), "{rows:?}");
    }
    for beside in ["stalled", "slow", "late"] {
        let row = format!("4 reliable + 1 {beside}");
        assert!(rows.contains(&row.as_str()), "{row}: {rows:?}");
    }
    assert!(page.contains("What subscribers cost the publisher"));
    for regime in report["regimes"].as_array().unwrap() {
        let sections = regime["sections"].as_array().unwrap();
        let fan_out = sections.iter().find(|section| section["kind"] == "fan-out").unwrap();
        assert_eq!(fan_out["goals"].as_array().unwrap().len(), 4, "{}", fan_out["goals"]);
    }
}

#[test]
fn udp_has_its_form() {
    let (report, _) = run("udp", &[]);
    assert!(rows(&report).contains(&"udp loopback, in batches"), "{:?}", rows(&report));
}

#[test]
fn all_has_the_steps_of_all() {
    let disk = disk();
    let dir = disk.path().to_str().unwrap();
    let (report, page) = run("all", &["--subscribers", "2", "--peers", "rtrb", "--dir", dir]);
    assert_eq!(names_in(disk.path()), [""; 0], "the files are removed");
    let rows = rows(&report);
    for row in [
        "tickcast, ipc, one way, 100 k/s",
        "2 reliable, ipc",
        "rtrb, in-process, in batches",
        // Streams are set against the bare one at their place.
        "bare stream, in-process, in batches",
        "bare stream, ipc, in batches",
        "udp loopback, ipc",
    ] {
        assert!(rows.contains(&row), "{row}: {rows:?}");
    }
    let peer = &report["summary"]["peers"]["rtrb"];
    assert_eq!(peer["place"], "in-process", "{peer}");
    // The journal and replays are in the same report, with files of their own meanwhile.
    for (part, trials) in [("journal", 3), ("replay", 4)] {
        let part = &report[part];
        assert_eq!(part["trials"].as_array().unwrap().len(), trials, "{part}");
        assert!(part["summary"]["valid"].is_boolean(), "{part}");
        assert!(page.contains(part["title"].as_str().unwrap()), "{part}");
    }
    for of in ["round_trip_ns", "ratio"] {
        is_told(&report, "rtrb", &peer[of]["p50"]);
    }
    is_told(&report, "rtrb", &peer["messages_per_s"]);
    assert!(page.contains("By how many times tickcast is better"));
    let goals = report["summary"]["goals"].as_array().unwrap();
    assert_eq!(goals.len(), 4, "{goals:?}");
    for outcome in goals {
        let goal = outcome["goal"].as_str().unwrap();
        assert_eq!(outcome["met"].is_boolean(), outcome["figure"].is_number(), "{outcome}");
        assert!(page.contains(&format!("goal: {goal}: ")), "{goal}");
    }
}

#[test]
fn what_it_cannot_do_is_said() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    for (arguments, code, told) in [
        (&["latency", "--payload", "47"][..], 2, "16, 48, 112"),
        (&["latency", "--peers", "nobody"], 1, "there is no nobody here"),
        (&["latency", "--cores", "0"], 1, "name two cores"),
        (&["latency", "--cores", "0,999"], 1, "core 999"),
        (&["latency", "--rate", "1"], 2, "1000"),
        (&["fanout", "--subscribers", "65"], 2, "64"),
        (&["fanout", "--subscribers", "1,2,1"], 2, "names 1 twice"),
        (&["fanout", "--payload", "16,48"], 2, "takes one --payload"),
        (&["throughput", "--rate", "100000"], 2, "throughput takes no --rate: messages go as fast"),
        (&["latency", "--dir", "."], 2, "latency takes no --dir: it writes no journal"),
        (&["udp", "--peers", "all"], 2, "udp takes no --peers"),
        (&["journal", "--mode", "reliable"], 2, "journal takes no --mode: the publisher waits"),
        (&["journal", "--ipc"], 2, "journal takes no --ipc: the journal is always a thread"),
        (&["replay", "--subscribers", "2"], 2, "replay takes no --subscribers"),
        (&["replay", "--payload", "16,48"], 2, "takes one --payload"),
        (&["journal", "--cores", "0"], 1, "name two cores"),
        (&["journal", "--dir", "/no/such/place"], 1, "cannot write to /no/such/place"),
        (&["journal", "--json", "/no/such/place/x"], 1, "cannot write to /no/such/place/x"),
        (&["latency", "--report", "/no/such/place/x"], 1, "cannot write to /no/such/place/x"),
    ] {
        let output = bench(place.path(), arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(told), "{arguments:?}: {text}");
        assert_eq!(names_in(place.path()), [""; 0], "the bus is removed");
    }
}

#[test]
fn a_run_that_fails_leaves_files_as_they_were() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let files = tempfile::tempdir().unwrap();
    let [new, old] = ["new", "old"].map(|name| files.path().join(name));
    fs::write(&old, "of another run").unwrap();
    let mut command = bench(place.path(), &["latency", "--cores", "0,999"]);
    let output = command.arg("--json").arg(&old).arg("--report").arg(&new).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(names_in(files.path()), ["old"]);
    assert_eq!(fs::read(&old).unwrap(), b"of another run");
}

#[test]
fn a_run_that_is_killed_leaves_files_as_they_were() {
    let _alone = alone();
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let files = tempfile::tempdir().unwrap();
    let [new, old] = ["new", "old"].map(|name| files.path().join(name));
    fs::write(&old, "of another run").unwrap();
    let mut command = bench(place.path(), &["latency", "--seconds", "600"]);
    command.arg("--json").arg(&old).arg("--report").arg(&new);
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Files are looked at before anything is made.
    while names_in(place.path()).is_empty() {
        assert!(running.try_wait().unwrap().is_none(), "it has ended");
        thread::sleep(Duration::from_millis(10));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(names_in(files.path()), ["old"]);
    assert_eq!(fs::read(&old).unwrap(), b"of another run");
}

#[test]
fn two_options_that_name_one_file_are_refused_before_anything_is_measured() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let files = tempfile::tempdir().unwrap();
    let (one, again) = (files.path().join("run"), files.path().join(".").join("run"));
    let mut command = bench(place.path(), &["latency", "--seconds", "600"]);
    let output = command.arg("--json").arg(&one).arg("--report").arg(&again).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("--json and --report name one file"), "{told}");
    assert_eq!(names_in(files.path()), [""; 0]);
}

#[test]
fn what_goes_where_standard_output_goes_is_followed_by_what_is_printed() {
    let _alone = alone();
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("out");
    let mut command = bench(place.path(), &["throughput", "--seconds", "1"]);
    command.args(["--json", "/dev/stdout"]).stdout(File::create(&path).unwrap());
    assert!(command.status().unwrap().success());
    let out = fs::read_to_string(&path).unwrap();
    let mut values = serde_json::Deserializer::from_str(&out).into_iter::<Value>();
    assert!(values.next().unwrap().unwrap()["summary"].is_object());
    assert!(out[values.byte_offset()..].starts_with("streams of messages\n"), "the text follows");
}

#[test]
fn what_a_benchmark_does_not_take_is_not_in_its_help() {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let all = ["payload", "rate", "subscribers", "in-process", "mode", "peers", "dir", "hgrm"];
    for (name, absent) in [
        ("latency", &["subscribers", "dir"][..]),
        ("throughput", &["rate", "subscribers", "dir"]),
        ("journal", &["subscribers", "in-process", "mode", "peers"]),
        ("all", &[]),
    ] {
        let output = bench(place.path(), &[name, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        for option in all {
            let is_there =
                help.contains(&format!("--{option} ")) || help.contains(&format!("--{option}\n"));
            assert_eq!(is_there, !absent.contains(&option), "{option}: {help}");
        }
    }
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

#[test]
fn a_far_side_that_is_killed_ends_the_run() {
    let _alone = alone();
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut command = bench(place.path(), &["latency", "--seconds", "600"]);
    let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", running.id());
    let child = (0..6000).find_map(|_| {
        thread::sleep(Duration::from_millis(10));
        let children = fs::read_to_string(&children).unwrap_or_default();
        children.split_whitespace().next().map(str::to_owned)
    });
    // In the midst of its blocks.
    thread::sleep(Duration::from_millis(500));
    let kill = Command::new("kill").args(["-s", "KILL", &child.unwrap()]).status().unwrap();
    assert!(kill.success());
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("the far side has ended early"), "{told}");
    assert_eq!(names_in(place.path()), [""; 0], "the bus is removed");
}

/// A directory where the binary was built: that is a disk, whatever one for temporary files is.
fn disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Runs a benchmark of a disk for a second; checks what all have in common. `curves` are the names
/// of the distributions, the main one first.
fn run_on_disk(
    name: &str,
    arguments: &[&str],
    trials: &[(&[&str], usize)],
    curves: &[&str],
) -> Value {
    let _alone = alone();
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    let (disk, files) = (disk(), tempfile::tempdir().unwrap());
    let [path, hgrm, html] =
        ["run.json", "run.hgrm", "run.html"].map(|name| files.path().join(name));
    let mut command = bench(place.path(), &[name, "--seconds", "1"]);
    command.args(arguments).arg("--dir").arg(disk.path());
    command.arg("--json").arg(&path).arg("--hgrm").arg(&hgrm).arg("--report").arg(&html);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names_in(place.path()), [""; 0], "the bus is removed");
    assert_eq!(names_in(disk.path()), [""; 0], "the files are removed");

    let report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let summary = &report["summary"];
    assert_eq!(summary["valid"], list(&summary["invalid_because"]).is_empty(), "{summary}");
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    assert!(page.contains(report["machine"]["processor"].as_str().unwrap()));
    let found = list(&report["trials"]);
    assert_eq!(found.len(), trials.len());
    let told: Vec<Value> = found.iter().flat_map(|found| list(&found["curves"])).collect();
    let told: Vec<&str> = told.iter().map(|curve| curve["name"].as_str().unwrap()).collect();
    for (found, (contenders, goals)) in found.iter().zip(trials) {
        let title = found["title"].as_str().unwrap();
        assert!(page.contains(title), "{title}");
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
        } else {
            assert!(page.contains("the median over blocks; the thick line"), "there are bars");
        }
        assert_eq!(rounds.is_empty(), is_skipped, "{found}");
        let outcomes = list(&found["goals"]);
        assert_eq!(outcomes.len(), *goals);
        for outcome in outcomes {
            let goal = outcome["goal"].as_str().unwrap();
            assert_eq!(outcome["met"].is_boolean(), outcome["figure"].is_number(), "{outcome}");
            assert!(text.contains(&format!("goal: {goal}: ")), "{goal}: {text}");
            assert!(page.contains(&format!("goal: {goal}: ")), "{goal}");
            assert!(list(&summary["goals"]).contains(&outcome), "{goal}: {summary}");
        }
    }
    if told.is_empty() {
        eprintln!("skipped the distributions of `bench {name}`: it took no times");
        assert!(!hgrm.exists());
        return report;
    }
    assert_eq!(BTreeSet::from_iter(told), BTreeSet::from_iter(curves.iter().copied()));
    assert!(page.contains("<polyline"), "there are percentiles");
    let main = fs::read_to_string(&hgrm).unwrap();
    assert!(main.contains("1/(1-Percentile)") && main.contains("#[Max"), "{main}");
    let beside = names_in(files.path()).iter().filter(|name| name.ends_with(".hgrm")).count();
    assert_eq!(beside, curves.len());
    report
}

const UNTIL_DURABLE: [&str; 3] = [
    "journal, until durable",
    "bare disk, until durable",
    "bare disk, both cores busy, until durable",
];

#[test]
fn journal_has_its_form() {
    let writing = [
        "bare",
        "bare, never flushed",
        "bare, huge pages",
        "bare, with CRC",
        "bare, with CRC, fed",
        "journal",
        "journal, 48 B",
        "bare, fresh",
        "journal, fresh",
    ];
    let cost = ["reader, 1 M/s", "journal, 1 M/s", "reader, 200 k/s", "journal, 200 k/s"];
    let durable = ["bare", "bare, both cores busy", "journal", "journal, flood"];
    let trials: [(&[&str], usize); 3] = [(&writing, 2), (&cost, 2), (&durable, 2)];
    run_on_disk("journal", &[], &trials, &UNTIL_DURABLE);
}

#[test]
fn journal_takes_what_it_is_told() {
    let writing = [
        "bare",
        "bare, never flushed",
        "bare, huge pages",
        "bare, with CRC",
        "bare, with CRC, fed",
        "journal",
        "journal, 16 KiB",
        "journal, 112 B",
        "bare, fresh",
        "journal, fresh",
    ];
    let cost = ["reader, 10 k/s", "journal, 10 k/s"];
    let durable = ["bare", "bare, both cores busy", "journal", "journal, flood"];
    // Goals for other payloads and rates there are none.
    let trials: [(&[&str], usize); 3] = [(&writing, 2), (&cost, 0), (&durable, 0)];
    let arguments = ["--payload", "16KiB,112", "--rate", "10000", "--cores", "0,0"];
    let report = run_on_disk("journal", &arguments, &trials, &UNTIL_DURABLE);
    let summary = &report["summary"];
    assert_eq!((&summary["valid"], &summary["oversubscribed"]), (&false.into(), &true.into()));
}

const WARM: [&str; 3] = ["bare loop", "bare loop, from files", "replay"];
const COLD: [&str; 2] = ["bare reads", "replay"];
const SEEK: [&str; 2] = ["by offset", "by time"];
const SOUGHT: [&str; 2] = ["seek by offset", "seek by time"];

#[test]
fn replay_has_its_form() {
    let pace = [
        "bare wait, 100 k/s",
        "replay, 100 k/s",
        "replay, 100 k/s, cold",
        "bare wait, 2 k/s",
        "replay, 2 k/s",
    ];
    let trials: [(&[&str], usize); 4] = [(&WARM, 1), (&COLD, 1), (&SEEK, 2), (&pace, 0)];
    run_on_disk("replay", &[], &trials, &SOUGHT);
}

#[test]
fn replay_takes_what_it_is_told() {
    let pace = [
        "bare wait, 20 k/s",
        "replay, 20 k/s",
        "replay, 20 k/s, cold",
        "bare wait, 400/s",
        "replay, 400/s",
    ];
    let trials: [(&[&str], usize); 4] = [(&WARM, 0), (&COLD, 0), (&SEEK, 2), (&pace, 0)];
    let arguments = ["--payload", "1KiB", "--rate", "20000"];
    run_on_disk("replay", &arguments, &trials, &SOUGHT);
}
