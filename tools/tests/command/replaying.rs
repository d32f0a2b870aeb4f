//! `replay`: from where to where, how fast, and where to.

use serde_json::{Value, json};

use crate::place::{Place, json_lines};
use crate::recording::{files, numbers, record_all};

/// A capture file of messages at these times, in seconds and microseconds.
fn capture(messages: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut pcap = Vec::new();
    // Version 2.4, snap length 65,535, link type 101 (bare IP).
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101_u32] {
        pcap.extend(word.to_le_bytes());
    }
    for (seconds, micros, payload) in messages {
        let packet_bytes = 20 + 8 + payload.len() as u32;
        for word in [*seconds, *micros, packet_bytes, packet_bytes] {
            pcap.extend(word.to_le_bytes());
        }
        pcap.extend([0x45, 0, 0, packet_bytes as u8, 0, 0, 0, 0, 64, 17, 0, 0]);
        pcap.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        pcap.extend([0, 1, 0, 2, 0, 8 + payload.len() as u8, 0, 0]);
        pcap.extend(*payload);
    }
    pcap
}

#[test]
fn offsets_and_times_choose_the_messages() {
    let (place, files) = (Place::new(), files());
    // From 1970-01-01T00:00:10Z on, one a second.
    let letters: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
    let messages: Vec<_> = (10..).zip(letters).map(|(second, text)| (second, 0, text)).collect();
    place.publish("pub md/x --create --capture", &capture(&messages));
    record_all(&place, "md/x", files.path());
    let journal = files.path().join("x");
    for (options, expected) in [
        ("", "a\nb\nc\nd\ne\n"),
        ("--from earliest --count 2", "a\nb\n"),
        ("--from 3", "d\ne\n"),
        ("--from 1 --to 3", "b\nc\n"),
        ("--from 5", ""),
        ("--to 0", ""),
        ("--from 12000000000ns", "c\nd\ne\n"),
        ("--from 11000000001ns --to 13000000001ns", "c\nd\n"),
        ("--from 1970-01-01T00:00:12Z --to 1970-01-01T00:00:14Z", "c\nd\n"),
        ("--from 1970-01-01T01:00:12.5+01:00 --count 1", "d\n"),
        ("--from 1 --to 1970-01-01T00:00:12Z", "b\n"),
        ("--speed 1000000", "a\nb\nc\nd\ne\n"),
        ("--from 4 --speed 1", "e\n"),
    ] {
        let printed = place.done(&format!("replay {} {options}", journal.display()));
        assert_eq!(String::from_utf8(printed).unwrap(), expected, "{options}");
    }
    for (from, expected) in
        [("12000000000ns", "c\nd\ne\n"), ("1970-01-01T00:00:13.000000001Z", "e\n")]
    {
        let printed = place.done(&format!("sub md/x --from {from} --timeout 0.1"));
        assert_eq!(String::from_utf8(printed).unwrap(), expected, "{from}");
    }
}

#[test]
fn it_waits_for_a_messages_time_and_ends_when_told() {
    let (place, files) = (Place::new(), files());
    place
        .publish("pub md/x --create --capture", &capture(&[(7, 0, b"now"), (90_007, 5, b"later")]));
    record_all(&place, "md/x", files.path());
    let journal = files.path().join("x");
    for signal in ["INT", "TERM"] {
        let mut replay = place.start(&format!("replay {} --speed 1", journal.display()));
        assert_eq!(replay.line(), "now\n");
        replay.signal(signal);
        assert_eq!(replay.outcome().done(), b"");
    }
    // 25 hours in 90 us.
    let printed = place.done(&format!("replay {} --speed 1000000000", journal.display()));
    assert_eq!(printed, b"now\nlater\n");
}

#[test]
fn what_is_published_again_is_flagged() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create --ring-size 256KiB --partitions 2", b"zero\n");
    place.publish("pub md/x/1", b"one\ntwo\n");
    record_all(&place, "md/x", files.path());
    let journal = files.path().join("x");
    place.publish("pub md/copy --create --ring-size 256KiB --partitions 2", b"before\n");
    let into = format!("replay {} --into md/copy", journal.display());
    assert_eq!(place.done(&format!("{into} --from 0 --to 1")), b"");
    assert_eq!(place.done(&format!("{into} --partition 1 --from 1")), b"");
    let times = |topic: &str| -> Vec<Value> {
        let lines = place.done(&format!("sub {topic} --from earliest --timeout 0.1 --format json"));
        json_lines(&lines).iter().map(|line| json!([line["timestamp"], line["payload"]])).collect()
    };
    assert_eq!(times("md/copy/0")[1..], times("md/x/0"));
    assert_eq!(times("md/copy/1"), times("md/x/1"));

    record_all(&place, "md/copy", files.path());
    let dump = |partition: u32| {
        let dir = files.path().join("copy");
        let command = format!("journal dump {} --partition {partition}", dir.display());
        let frames = String::from_utf8(place.done(&command)).unwrap();
        let kinds = frames.lines().filter_map(|line| line.split_whitespace().nth(2));
        kinds.filter(|kind| kind.starts_with("message")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(dump(0), ["message", "message+"]);
    assert_eq!(dump(1), ["message+", "message+"]);

    place.publish("pub md/narrow --create --ring-size 256KiB", b"");
    let narrow = place.run(&format!("replay {} --into md/narrow", journal.display()));
    narrow.failed(1, "there is no partition 1: the topic has 1");
    place.run(&format!("replay {} --into md/none", journal.display())).failed(1, "create it first");
}

#[test]
fn several_topics_come_in_the_order_of_their_times() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/a --create --capture", &capture(&[(1, 0, b"1"), (3, 0, b"3")]));
    place.publish("pub md/b --create --capture", &capture(&[(2, 0, b"2"), (4, 0, b"4")]));
    record_all(&place, "md/a", files.path());
    record_all(&place, "md/b", files.path());
    let [a, b] = ["a", "b"].map(|name| files.path().join(name).display().to_string());
    assert_eq!(place.done(&format!("replay {a} {b}")), b"1\n2\n3\n4\n");
    let lines = json_lines(&place.done(&format!("replay {a} {b} --format json --to 1")));
    assert_eq!(lines.len(), 2);
    for (line, topic) in lines.iter().zip([a, b]) {
        assert_eq!((&line["topic"], &line["offset"]), (&json!(topic), &json!(0)));
        assert!(line.get("partition").is_none(), "{line}");
    }
}

#[test]
fn a_reader_that_stops_ends_it_quietly() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create", numbers(0..100_000).as_bytes());
    record_all(&place, "md/x", files.path());
    let journal = files.path().join("x");
    let mut replay = place.start(&format!("replay {}", journal.display()));
    assert_eq!(replay.line(), "0\n");
    let outcome = replay.stop_reading();
    assert_eq!(outcome.stderr, "");
    outcome.done();
}
