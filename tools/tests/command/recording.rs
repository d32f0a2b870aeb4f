//! `record`: what it has put into files is there, however it ended.

use std::fmt::Write;
use std::path::Path;

use tempfile::TempDir;

use crate::place::{Place, Running, data, json_lines};

const FORMATS: [&str; 4] = ["text", "json", "hex", "raw"];

/// A directory for journals, on a disk.
pub(crate) fn files() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Starts to record, and waits until it has begun. Returns also what it says then.
pub(crate) fn record(place: &Place, topic: &str, dir: &Path, options: &str) -> (Running, String) {
    let mut running = place.start(&format!("record {topic} --dir {} {options}", dir.display()));
    let line = running.line();
    assert!(line.starts_with("recording "), "{line:?}: {:?}", running.outcome());
    (running, line)
}

/// Has it end by Ctrl-C, and returns what it says then.
pub(crate) fn end(running: Running) -> String {
    running.signal("INT");
    String::from_utf8(running.outcome().done()).unwrap()
}

/// Records all that a topic's ring has.
pub(crate) fn record_all(place: &Place, topic: &str, dir: &Path) {
    let (running, _) = record(place, topic, dir, "");
    let said = end(running);
    assert!(said.ends_with("; all durable\n"), "{said}");
}

pub(crate) fn numbers(range: std::ops::Range<u64>) -> String {
    range.fold(String::new(), |mut text, number| {
        writeln!(text, "{number}").unwrap();
        text
    })
}

#[test]
fn what_is_recorded_is_replayed_byte_for_byte_in_every_format() {
    for options in ["", "--sync always", "--sync 5ms --segment-size 256KiB --core 0"] {
        let (place, files) = (Place::new(), files());
        let records = b"\0\x02\0\xff\0\x03a\nb\0\x05plain";
        place.publish("pub md/x --create --ring-size 1MiB --length-prefixed", &records[..9]);
        let (running, line) = record(&place, "md/x", files.path(), options);
        let dir = files.path().join("x");
        assert_eq!(line, format!("recording md/x to {} from message 0\n", dir.display()));
        let mut long = vec![b'x'; 200_000];
        long.push(b'\n');
        place.publish("pub md/x", &long);
        place.publish("pub md/x --length-prefixed", &records[9..]);
        let said = end(running);
        assert!(said.starts_with("recorded 4 messages, "), "{said}");
        assert!(said.ends_with(" of log; all durable\n"), "{said}");
        for format in FORMATS {
            let in_ring =
                place.done(&format!("sub md/x --from earliest --count 4 --format {format}"));
            let in_files = place.done(&format!("replay {} --format {format}", dir.display()));
            assert!(!in_ring.is_empty() && in_ring == in_files, "{format}, {options}");
        }
    }
}

#[test]
fn real_data_comes_back_as_it_went_in() {
    let Some(path) = data("itch/sample.itch") else { return };
    let (place, files) = (Place::new(), files());
    let (publish, into) = ("pub md/itch --create --length-prefixed --file", path.display());
    place.publish(&format!("{publish} {into}"), b"");
    record_all(&place, "md/itch", files.path());
    let count = json_lines(&place.done("stat md/itch --json"))[0]["next_offset"].clone();
    let in_ring = place.done(&format!("sub md/itch --from earliest --count {count} --format hex"));
    let in_files = place.done(&format!("replay {}/itch --format hex", files.path().display()));
    assert!(in_ring == in_files && !in_files.is_empty());
}

#[test]
fn it_goes_on_where_the_last_one_ended() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create", numbers(0..1000).as_bytes());
    record_all(&place, "md/x", files.path());
    place.publish("pub md/x", numbers(1000..1500).as_bytes());
    let (running, line) = record(&place, "md/x", files.path(), "");
    assert!(line.ends_with("from message 1000\n"), "{line}");
    place.publish("pub md/x", numbers(1500..2000).as_bytes());
    assert!(end(running).starts_with("recorded 1,000 messages, "));
    let replayed = place.done(&format!("replay {}/x", files.path().display()));
    assert_eq!(String::from_utf8(replayed).unwrap(), numbers(0..2000));
}

#[test]
fn partitions_are_recorded_together_or_one_by_one() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create --ring-size 256KiB --partitions 6", b"zero\n");
    place.publish("pub md/x/5", b"five\n");
    let (running, line) = record(&place, "md/x", files.path(), "--segment-size 256KiB");
    assert!(line.ends_with("from messages 0,0,0,0,...\n"), "{line}");
    assert!(end(running).starts_with("recorded 2 messages, "));
    let dir = files.path().join("x");
    let replay = |options: &str| {
        json_lines(&place.done(&format!("replay {} --format json {options}", dir.display())))
    };
    let lines = replay("");
    let found: Vec<_> = lines.iter().map(|line| (&line["partition"], &line["payload"])).collect();
    assert_eq!(found, [(&0.into(), &"zero".into()), (&5.into(), &"five".into())]);
    assert_eq!(replay("--partition 5"), lines[1..]);

    place.publish("pub md/x/5", b"more\n");
    let (running, line) = record(&place, "md/x/5", files.path(), "");
    assert!(line.ends_with("from message 1\n"), "{line}");
    end(running);
    assert_eq!(replay("--partition 5").len(), 2);
}

#[test]
fn nothing_is_lost_or_doubled_by_one_that_is_killed() {
    const MESSAGES: u64 = 60_000;
    for sync in ["none", "always", "2ms"] {
        let (place, files) = (Place::new(), files());
        let options = format!("--sync {sync} --segment-size 256KiB");
        // Messages are a line of memory each: the ring has room for a fifteenth of them.
        let mut publisher = place.start("pub md/x --create --ring-size 256KiB");
        place.wait_for_topic("md/x");
        let (mut running, _) = record(&place, "md/x", files.path(), &options);
        for round in 0..6 {
            let end = MESSAGES / 6 * (round + 1);
            publisher.write(numbers(MESSAGES / 6 * round..end).as_bytes());
            if round == 5 {
                break;
            }
            let recorded = end - MESSAGES / 12;
            place.wait_for_stat("md/x", |stat| {
                stat["journal"]["written_offset"].as_u64() >= Some(recorded)
            });
            running.signal("KILL");
            assert_eq!(running.outcome().code, None);
            assert_eq!(
                json_lines(&place.done("stat md/x --json"))[0]["journal"]["state"],
                "killed"
            );
            running = successor(&place, files.path(), &options);
        }
        place.wait_for_stat("md/x", |stat| stat["journal"]["written_offset"] == MESSAGES);
        end(running);
        let replayed = place.done(&format!("replay {}/x", files.path().display()));
        assert!(replayed == numbers(0..MESSAGES).as_bytes(), "{sync}");
        place.done(&format!("journal verify {}", files.path().display()));
    }
}

/// Goes on after one that was killed, once the kernel has done all that it asked for.
fn successor(place: &Place, dir: &Path, options: &str) -> Running {
    for _ in 0..1000 {
        let mut next = place.start(&format!("record md/x --dir {} {options}", dir.display()));
        if next.line().starts_with("recording ") {
            return next;
        }
        next.outcome().failed(1, "is being written to");
    }
    panic!("it stays in use");
}

#[test]
fn being_told_twice_at_once_is_one_wish() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create", numbers(0..1000).as_bytes());
    let (running, _) = record(&place, "md/x", files.path(), "");
    // As timeout(1) does.
    running.signal("TERM");
    running.signal("TERM");
    let said = String::from_utf8(running.outcome().done()).unwrap();
    assert!(said.ends_with("; all durable\n"), "{said}");
}

#[test]
fn a_partition_has_one_journal() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create", b"one\n");
    let (running, _) = record(&place, "md/x", files.path(), "");
    let other = tempfile::tempdir().unwrap();
    let again = place.run(&format!("record md/x --dir {}", other.path().display()));
    again.failed(1, &format!("journaled already, by process {}", running.pid()));
    let stat = &json_lines(&place.done("stat md/x --json"))[0]["journal"];
    assert_eq!((&stat["state"], &stat["pid"]), (&"running".into(), &running.pid().into()));
    assert_eq!(stat["path"], files.path().join("x").display().to_string());
    end(running);
    let stat = &json_lines(&place.done("stat md/x --json"))[0]["journal"];
    assert_eq!((&stat["state"], &stat["pid"]), (&"closed".into(), &().into()));
    assert_eq!((&stat["durable_offset"], &stat["lag"]), (&1.into(), &0.into()));
    let table = String::from_utf8(place.done("stat md/x")).unwrap();
    assert!(table.contains("JOURNAL") && table.contains("closed"), "{table}");
}

#[test]
fn what_can_never_be_recorded_is_refused_and_holds_nobody_up() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create --ring-size 256KiB", b"one\n");
    let dir = files.path().display();
    place.run(&format!("record md/x --dir {dir} --segment-size 100KiB")).failed(2, "power of two");
    place.run(&format!("record md/x --dir {dir} --core 9999")).failed(1, "cannot use core 9999");
    place.run(&format!("record md/no --dir {dir}")).failed(1, "create it first");
    place.run(&format!("record md/x/7 --dir {dir}")).failed(1, "there is no partition 7");
    assert_eq!(json_lines(&place.done("stat md/x --json"))[0]["journal"], serde_json::json!(null));
    // More than the ring holds.
    place.publish("pub md/x", numbers(0..20_000).as_bytes());

    record_all(&place, "md/x", files.path());
    place.done("rm md");
    place.publish("pub md/x --create --ring-size 256KiB", b"another\n");
    place.run(&format!("record md/x --dir {dir}")).failed(1, "is the journal of another topic");
}

#[test]
fn what_the_ring_went_past_is_told() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create --ring-size 256KiB", numbers(0..1000).as_bytes());
    record_all(&place, "md/x", files.path());
    place.publish("pub md/x", numbers(1000..20_000).as_bytes());
    let (running, _) = record(&place, "md/x", files.path(), "");
    place.wait_for_stat("md/x", |stat| stat["journal"]["lag"] == 0);
    end(running);
    let journal = files.path().join("x");
    let lines = json_lines(&place.done(&format!("replay {} --format json", journal.display())));
    let (gap, next) = (&lines[1000]["gap"], &lines[1001]["offset"]);
    assert_eq!((&gap["from"], &gap["cause"]), (&1000.into(), &"journal".into()));
    assert_eq!(gap["to"].as_u64().unwrap() + 1, next.as_u64().unwrap());
    assert_eq!(lines.last().unwrap()["payload"], "19999");
    let lost = next.as_u64().unwrap() - 1000;
    let told = place.done(&format!("journal verify {}", journal.display()));
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains(&format!("  {lost} messages were never recorded")), "{told}");
    assert_eq!(json_lines(&place.done("stat md/x --json"))[0]["journal"]["lost"], lost);
}

#[test]
fn it_ends_with_its_bus_and_keeps_what_it_has() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create", numbers(0..1000).as_bytes());
    let (running, _) = record(&place, "md/x", files.path(), "");
    place.done("rm md --force");
    running.outcome().failed(1, "tickcast: md/x: its bus was removed");
    let replayed = place.done(&format!("replay {}/x", files.path().display()));
    assert_eq!(String::from_utf8(replayed).unwrap(), numbers(0..1000));
}

#[test]
fn old_files_are_removed_where_that_is_wanted() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create --ring-size 1MiB", numbers(0..1).as_bytes());
    let options = "--segment-size 256KiB --keep-bytes 1MiB --sync 5ms";
    let (running, _) = record(&place, "md/x", files.path(), options);
    // Some 10 MiB in lines of 64 bytes.
    place.publish("pub md/x", numbers(1..160_000).as_bytes());
    let said = end(running);
    assert!(said.starts_with("recorded 160,000 messages, "), "{said}");
    let dir = files.path().join("x");
    let count = std::fs::read_dir(dir.join("0")).unwrap().count();
    assert!(count < 20, "{count} files of 256 KiB are left of 10 MiB");
    let info = place.done(&format!("journal info {} --json", dir.display()));
    let first = json_lines(&info)[0]["earliest_offset"].as_u64().unwrap();
    assert!(first > 0, "nothing was removed");
    let replayed = place.done(&format!("replay {} --format text", dir.display()));
    assert_eq!(String::from_utf8(replayed).unwrap(), numbers(first..160_000));
}
