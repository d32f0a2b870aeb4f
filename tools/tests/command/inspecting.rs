//! `journal`: what lies in the files, and damage.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use serde_json::json;

use crate::place::{Place, json_lines};
use crate::recording::{end, files, numbers, record, record_all};

const BLOCK_BYTES: u64 = 64 << 10;

#[test]
fn a_flipped_bit_is_named_with_what_it_costs() {
    let (place, files) = (Place::new(), files());
    // A line of memory each: 1022 in a block.
    place.publish("pub md/x --create", numbers(0..10_000).as_bytes());
    place.publish("pub md/other --create", b"one\n");
    record_all(&place, "md/x", files.path());
    record_all(&place, "md/other", files.path());
    let dir = files.path().display();
    let verify = |path: &str| place.run(&format!("journal verify {path}"));
    let sound = String::from_utf8(verify(&dir.to_string()).done()).unwrap();
    let said: Vec<_> = sound.lines().collect();
    assert_eq!(said.len(), 2);
    assert!(said[0].starts_with(&format!("{dir}/other/0: sound: 1 blocks, 1 messages, ")));
    assert!(said[1].starts_with(&format!("{dir}/x/0: sound: 10 blocks, 10,000 messages, ")));

    let segment = format!("{dir}/x/0/{:016x}.segment", 0);
    let file = OpenOptions::new().read(true).write(true).open(&segment).unwrap();
    let (byte, mut bytes) = (3 * BLOCK_BYTES + 5_000, [0]);
    file.read_exact_at(&mut bytes, byte).unwrap();
    file.write_all_at(&[bytes[0] ^ 4], byte).unwrap();

    let outcome = verify(&dir.to_string());
    let said = String::from_utf8(outcome.stdout.clone()).unwrap();
    outcome.failed(1, "tickcast: 1 block is damaged");
    for told in [
        format!("{dir}/other/0: sound: "),
        format!("{dir}/x/0: damaged: 1 of 10 blocks; 8,978 messages, "),
        "  block 3, position 196608: neither of its checkpoints holds\n".to_owned(),
        format!("    byte 196608 of {segment}\n"),
        "    messages 3066 to 4087 are lost\n".to_owned(),
    ] {
        assert!(said.contains(&told), "{told:?} is not in {said}");
    }
    let outcome = verify(&format!("{dir} --json"));
    let lines = json_lines(&outcome.stdout);
    outcome.failed(1, "tickcast: 1 block is damaged");
    assert_eq!(lines.len(), 2);
    let path = format!("{dir}/other");
    for (field, expected) in [
        ("journal", json!(path)),
        ("partition", json!(0)),
        ("blocks", json!(1)),
        ("damaged_blocks", json!(0)),
        ("damages", json!([])),
        ("messages", json!(1)),
        ("missed", json!(0)),
        ("next_offset", json!(1)),
        ("position", lines[0]["durable_position"].clone()),
        ("cut", json!(null)),
        ("is_being_written", json!(false)),
    ] {
        assert_eq!(lines[0][field], expected, "{field}: {}", lines[0]);
    }
    assert_eq!((&lines[1]["blocks"], &lines[1]["damaged_blocks"]), (&json!(10), &json!(1)));
    assert_eq!((&lines[1]["messages"], &lines[1]["next_offset"]), (&json!(8_978), &json!(10_000)));
    let damage = json!({
        "block": 3,
        "blocks": 1,
        "position": 3 * BLOCK_BYTES,
        "segment": segment,
        "segment_byte": 3 * BLOCK_BYTES,
        "kind": "neither of its checkpoints holds",
        "lost_from": 3066,
        "lost_end": 4088,
    });
    assert_eq!(lines[1]["damages"], json!([damage]));

    verify(&format!("{dir}/other")).done();
    verify(&format!("{dir}/x --partition 0")).failed(1, "1 block is damaged");

    // What is left is replayed, and what is not is told.
    let outcome = place.run(&format!("replay {dir}/x --format json"));
    let lines = json_lines(&outcome.stdout);
    outcome.failed(1, "1 part cannot be read");
    assert_eq!(lines.len(), 8_979);
    let gap = json!({ "gap": { "from": 3066, "to": 4087, "cause": "journal" } });
    assert_eq!(lines[3066], gap);
    assert_eq!(lines[3067]["offset"], 4088);
    let dump = place.done(&format!("journal dump {dir}/x --from 3065 --count 2"));
    let dump = String::from_utf8(dump).unwrap();
    let lines: Vec<_> = dump.lines().collect();
    assert!(lines[0].starts_with("block 2: position 131072, offset 2044, epoch 1, 65536 bytes"));
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>()[1..3], ["3065", "message"]);
    let damage = "block 3: damaged from position 196608 on: neither of its checkpoints holds";
    assert_eq!(lines[2], damage);
    assert!(lines[3].starts_with("block 4: "));
    assert_eq!(lines[4].split_whitespace().nth(1), Some("4088"));

    file.write_all_at(&bytes, byte).unwrap();
    assert_eq!(String::from_utf8(verify(&dir.to_string()).done()).unwrap(), sound);
}

#[test]
fn info_tells_the_state_of_each_partition() {
    let (place, files) = (Place::new(), files());
    place
        .publish("pub md/x --create --partitions 2 --ring-size 256KiB", numbers(0..500).as_bytes());
    let (running, _) = record(&place, "md/x", files.path(), "--segment-size 256KiB --sync always");
    place.wait_for_stat("md/x", |stat| stat["journal"]["durable_offset"] == 500);
    let dir = files.path().display();
    let info = json_lines(&place.done(&format!("journal info {dir} --json")));
    assert_eq!(info.len(), 2);
    assert_eq!(info[0]["is_being_written"], true);
    assert_eq!((&info[0]["next_offset"], &info[1]["next_offset"]), (&json!(500), &json!(0)));
    end(running);

    let info = json_lines(&place.done(&format!("journal info {dir}/x --json")));
    let first = json_lines(&place.done("sub md/x/0 --from earliest --count 1 --format json"));
    let stat = &json_lines(&place.done("stat md/x/0 --json"))[0];
    for (field, expected) in [
        ("journal", json!(format!("{dir}/x"))),
        ("partition", json!(0)),
        ("segment_bytes", json!(256 << 10)),
        ("earliest_offset", json!(0)),
        ("earliest_timestamp", first[0]["timestamp"].clone()),
        ("next_offset", json!(500)),
        ("durable_offset", json!(500)),
        ("position", stat["position"].clone()),
        ("durable_position", stat["position"].clone()),
        ("first_block", json!(0)),
        ("last_block", json!(0)),
        ("first_epoch", json!(1)),
        ("last_epoch", json!(1)),
        ("is_cut", json!(false)),
        ("is_being_written", json!(false)),
    ] {
        assert_eq!(info[0][field], expected, "{field}: {}", info[0]);
    }
    assert!(info[0]["disk_bytes"].as_u64() >= Some(256 << 10));
    assert_eq!(place.done(&format!("journal info {dir}/x --json --partition 1")), {
        let mut line = info[1].to_string().into_bytes();
        line.push(b'\n');
        line
    });
    let table = String::from_utf8(place.done(&format!("journal info {dir}/x"))).unwrap();
    for cell in ["segments of 256 KiB", "partition 1", "NEXT OFFSET", "500", "whole", "from 20"] {
        assert!(table.contains(cell), "{cell} is not in {table}");
    }
    assert!(table.lines().skip(1).all(|line| line.chars().count() <= 80), "{table}");
}

#[test]
fn what_is_no_journal_is_told_so() {
    let (place, files) = (Place::new(), files());
    let dir = files.path().display();
    for command in ["info", "verify", "dump"] {
        place.run(&format!("journal {command} {dir}")).failed(1, "is no topic's journal");
    }
    place.publish("pub md/x --create", b"one\n");
    record_all(&place, "md/x", files.path());
    for command in ["info", "verify", "dump"] {
        let outcome = place.run(&format!("journal {command} {dir}/x --partition 1"));
        outcome.failed(1, "there is no partition 1: the topic has 1");
    }
    // One that cannot be read keeps no other from being verified.
    std::fs::write(format!("{dir}/x/topic"), b"").unwrap();
    place.publish("pub md/y --create", b"one\n");
    record_all(&place, "md/y", files.path());
    let outcome = place.run(&format!("journal verify {dir}"));
    assert!(outcome.stdout.starts_with(format!("{dir}/y/0: sound").as_bytes()), "{outcome:?}");
    outcome.failed(1, "1 of the journals could not be verified");
}

#[test]
fn both_ends_can_be_cut() {
    let (place, files) = (Place::new(), files());
    place.publish("pub md/x --create", numbers(0..100_000).as_bytes());
    end(record(&place, "md/x", files.path(), "--segment-size 1MiB").0);
    let path = format!("{}/x", files.path().display());
    let offsets = || {
        let lines = json_lines(&place.done(&format!("replay {path} --format json")));
        let offset = |line: &serde_json::Value| line["offset"].as_u64().expect("a message");
        (offset(lines.first().expect("some")), offset(lines.last().expect("some")))
    };
    assert_eq!(offsets(), (0, 99_999));
    place.run(&format!("journal prune {path}")).failed(2, "--keep-bytes");
    let said = place.done(&format!("journal prune {path} --before 50000"));
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with(&format!("{path}/0: removed 3 segments, 3 MiB")), "{said}");
    // Segments of 16 blocks with 1022 messages each.
    assert_eq!(offsets(), (3 * 16 * 1022, 99_999));

    place.run(&format!("journal truncate {path} --to 100001")).failed(1, "no message 100001");
    let said = place.done(&format!("journal truncate {path} --to 70000"));
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("ends before message 70000; given up: 30,000 messages"), "{said}");
    assert_eq!(offsets(), (3 * 16 * 1022, 69_999));
    place.done(&format!("journal verify {path}"));
}
