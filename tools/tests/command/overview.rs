//! `ls` and `stat`.

use serde_json::json;

use crate::place::{Place, json_lines};

#[test]
fn without_a_bus_there_is_nothing_to_list() {
    let place = Place::new();
    assert_eq!(place.done("ls --json"), b"");
    let table = String::from_utf8(place.done("ls")).unwrap();
    assert!(table.starts_with("BUS ") && table.lines().count() == 1, "{table}");
}

#[test]
fn ls_shows_each_topic() {
    let place = Place::new();
    place.publish("pub a/quiet --create --ring-size 256KiB --partitions 2", b"");
    let mut publisher = place.start("pub b/busy --create --ring-size 1MiB");
    publisher.write(b"0\n1\n");
    place.wait_for_topic("b/busy");
    place.wait_for_stat("b/busy", |stat| stat["next_offset"] == 2);

    let lines = json_lines(&place.done("ls --json"));
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["bus"], &lines[0]["topic"]), (&json!("a"), &json!("quiet")));
    assert_eq!(lines[0]["partitions"], 2);
    assert_eq!(lines[0]["ring_bytes"], 256 << 10);
    assert_eq!(lines[0]["publisher_pids"], json!([null, null]));
    assert_eq!(lines[0]["next_offsets"], json!([0, 0]));
    assert!(lines[0]["shared_bytes"].as_u64().unwrap() >= 2 * (256 << 10));
    assert_eq!((&lines[1]["bus"], &lines[1]["topic"]), (&json!("b"), &json!("busy")));
    assert_eq!(lines[1]["publisher_pids"], json!([publisher.pid()]));
    assert_eq!(lines[1]["next_offsets"], json!([2]));

    let table = String::from_utf8(place.done("ls")).unwrap();
    let pid = publisher.pid().to_string();
    for cell in ["quiet", "256 KiB", "busy", "1 MiB", &pid] {
        assert!(table.contains(cell), "{cell} is not in {table}");
    }
}

#[test]
fn stat_shows_partitions_and_their_reliable_subscribers() {
    let place = Place::new();
    place.publish("pub md/x --create --partitions 2 --ring-size 256KiB", b"one\nthree\n");
    let mut subscriber = place.start("sub md/x/0 --from earliest --mode reliable");
    assert_eq!((subscriber.line(), subscriber.line()), ("one\n".into(), "three\n".into()));
    place.wait_for_stat("md/x", |stat| stat["subscribers"][0]["lag"] == 0);

    let lines = json_lines(&place.done("stat md/x --json"));
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["partition"], &lines[1]["partition"]), (&json!(0), &json!(1)));
    assert_eq!((&lines[0]["next_offset"], &lines[1]["next_offset"]), (&json!(2), &json!(0)));
    assert_eq!((&lines[0]["payload_bytes"], &lines[0]["epoch"]), (&json!(8), &json!(1)));
    assert_eq!(lines[0]["publisher_pid"], json!(null));
    assert_eq!(lines[1]["subscribers"], json!([]));
    let expected = json!({
        "slot": 0, "pid": subscriber.pid(), "offset": 2, "lag": 0,
        "messages": 2, "payload_bytes": 8, "lost": 0,
    });
    assert_eq!(lines[0]["subscribers"], json!([expected]));
    assert_eq!(json_lines(&place.done("stat md/x/1 --json")), lines[1..]);

    let table = String::from_utf8(place.done("stat md/x")).unwrap();
    let pid = subscriber.pid().to_string();
    for cell in ["md/x: ring 256 KiB", "partition 1", "NEXT OFFSET", "SUBSCRIBER", "LAG", &pid] {
        assert!(table.contains(cell), "{cell} is not in {table}");
    }
}
