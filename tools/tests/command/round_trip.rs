//! What is published is what is printed, in every format.

use std::fs;

use serde_json::json;

use crate::place::{Place, data, json_lines};

const READ_ALL: &str = "--from earliest --timeout 0.2";

#[test]
fn lines_come_back_as_text() {
    let place = Place::new();
    let lines = "a trade\n\nna\u{ef}ve \"quoted\" \\ back\twith a tab\n";
    place.publish("pub md/trades --create", lines.as_bytes());
    // The publisher has exited; the bus stays.
    assert_eq!(place.done(&format!("sub md/trades {READ_ALL}")), lines.as_bytes());
}

#[test]
fn a_last_line_without_a_newline_counts() {
    let place = Place::new();
    place.publish("pub md/trades --create", b"one\ntwo");
    assert_eq!(place.done(&format!("sub md/trades {READ_ALL}")), b"one\ntwo\n");
}

#[test]
fn text_that_would_break_its_line_is_escaped() {
    let place = Place::new();
    place.publish("pub md/x --create --length-prefixed", b"\0\x03a\nb\0\x02\xff\x1b");
    assert_eq!(place.done(&format!("sub md/x {READ_ALL}")), b"a\\nb\n\\xff\\x1b\n");
}

#[test]
fn raw_is_the_bytes_alone_and_hex_a_line_of_digits() {
    let place = Place::new();
    place.publish("pub md/x --create --length-prefixed", b"\0\x02\0\xff\0\x03abc");
    assert_eq!(place.done(&format!("sub md/x {READ_ALL} --format raw")), b"\0\xffabc");
    assert_eq!(place.done(&format!("sub md/x {READ_ALL} --format hex")), b"00ff\n616263\n");
}

#[test]
fn json_has_text_where_it_is_utf8_else_hex() {
    let place = Place::new();
    place.publish("pub md/x --create --length-prefixed", b"\0\x02\xc3\xaf\0\x02\xc3\x28");
    let lines = json_lines(&place.done(&format!("sub md/x {READ_ALL} --format json")));
    assert_eq!(lines.len(), 2);
    for (offset, line) in lines.iter().enumerate() {
        assert_eq!(line["offset"], json!(offset));
        assert!(line["timestamp"].as_u64().unwrap() > 1_600_000_000_000_000_000);
        assert!(line.get("partition").is_none(), "there is only one: {line}");
    }
    assert_eq!((&lines[0]["payload"], lines[0].get("payload_hex")), (&json!("\u{ef}"), None));
    assert_eq!((lines[1].get("payload"), &lines[1]["payload_hex"]), (None, &json!("c328")));
}

#[test]
fn json_names_the_partition_where_there_are_several() {
    let place = Place::new();
    place.publish("pub md/x --create --ring-size 256KiB --partitions 3", b"zero\n");
    place.publish("pub md/x/2", b"two\n");
    let mut lines = json_lines(&place.done(&format!("sub md/x {READ_ALL} --format json")));
    lines.sort_by_key(|line| line["partition"].as_u64());
    let found: Vec<_> = lines.iter().map(|line| (&line["partition"], &line["payload"])).collect();
    assert_eq!(found, [(&json!(0), &json!("zero")), (&json!(2), &json!("two"))]);
    let one = json_lines(&place.done(&format!("sub md/x/2 {READ_ALL} --format json")));
    assert_eq!(one, lines[1..]);
}

#[test]
fn length_prefixed_records_keep_every_byte() {
    let Some(path) = data("itch/sample.itch") else { return };
    let sample = fs::read(&path).unwrap();
    let place = Place::new();
    place
        .publish(&format!("pub md/itch --create --length-prefixed --file {}", path.display()), b"");
    let printed = place.done(&format!("sub md/itch {READ_ALL} --format hex"));
    let mut records = Vec::new();
    for line in str::from_utf8(&printed).unwrap().lines() {
        let digits = line.as_bytes().chunks(2).map(|two| str::from_utf8(two).unwrap());
        let bytes: Vec<_> = digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
        records.extend((bytes.len() as u16).to_be_bytes());
        records.extend(bytes);
    }
    // An empty record may end the file.
    assert!(!records.is_empty());
    assert_eq!(records, sample.strip_suffix(&[0, 0]).unwrap_or(&sample));
}

#[test]
fn a_long_message_comes_back_whole() {
    let place = Place::new();
    let mut line = vec![b'x'; 200_000];
    line.push(b'\n');
    place.publish("pub md/x --create --ring-size 1MiB", &line);
    assert_eq!(place.done(&format!("sub md/x {READ_ALL}")), line);
}

#[test]
fn a_line_may_be_as_long_as_the_topic_takes() {
    let place = Place::new();
    place.publish("pub md/x --create --ring-size 4MiB", b"");
    // The longest message is a quarter of the ring.
    let longest = vec![b'x'; 1 << 20];
    place.publish("pub md/x", &longest);
    assert!(place.done(&format!("sub md/x {READ_ALL} --format raw")) == longest);
    let outcome = place.run_with("pub md/x", &[&longest[..], b"x\n"].concat());
    outcome.failed(1, "is longer than 1048576 bytes, the longest message of this topic");
}

#[test]
fn a_captured_message_keeps_its_time() {
    let payload = b"hello";
    let mut pcap = Vec::new();
    // Version 2.4, snap length 65,535, link type 101 (bare IP); one packet, 7 s and 5 us.
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101_u32] {
        pcap.extend(word.to_le_bytes());
    }
    let packet_bytes = 20 + 8 + payload.len() as u32;
    for word in [7, 5, packet_bytes, packet_bytes] {
        pcap.extend(word.to_le_bytes());
    }
    pcap.extend([0x45, 0, 0, packet_bytes as u8, 0, 0, 0, 0, 64, 17, 0, 0]);
    pcap.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    pcap.extend([0, 1, 0, 2, 0, 8 + payload.len() as u8, 0, 0]);
    pcap.extend(payload);

    let place = Place::new();
    place.publish("pub md/x --create --capture", &pcap);
    let lines = json_lines(&place.done(&format!("sub md/x {READ_ALL} --format json")));
    let expected = json!({ "offset": 0, "timestamp": 7_000_005_000_u64, "payload": "hello" });
    assert_eq!(lines, [expected]);
}
