//! Losses that are overruns: told exactly, with both ends.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::place::{Place, Running, json_lines};

/// Several times as much as the smallest ring holds.
const MESSAGES: u64 = 20_000;

fn numbers(range: std::ops::Range<u64>) -> String {
    range.fold(String::new(), |mut text, number| {
        writeln!(text, "{number}").unwrap();
        text
    })
}

fn next_line(subscriber: &mut Running) -> Value {
    serde_json::from_str(&subscriber.line()).unwrap()
}

/// Follows the offsets through messages and gaps; returns the gaps.
fn check_dense(lines: &[Value], mut next: u64) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    for line in lines {
        if let Some(gap) = line.get("gap") {
            let end = |name| gap[name].as_u64().unwrap();
            assert_eq!((end("from"), &gap["cause"]), (next, &json!("overrun")));
            assert!(end("to") >= end("from"), "{gap}");
            gaps.push((end("from"), end("to")));
            next = end("to") + 1;
        } else {
            assert_eq!(line["offset"], json!(next));
            assert_eq!(line["payload"], json!(next.to_string()));
            next += 1;
        }
    }
    assert_eq!(next, MESSAGES);
    gaps
}

#[test]
fn a_start_that_was_overwritten_is_a_gap() {
    let place = Place::new();
    place.publish("pub md/x --create --ring-size 256KiB", numbers(0..MESSAGES).as_bytes());
    let lines = json_lines(&place.done("sub md/x --from 0 --timeout 0.1 --format json"));
    assert_eq!(check_dense(&lines, 0).len(), 1);
    let held = json_lines(&place.done("sub md/x --from earliest --timeout 0.1 --format json"));
    assert_eq!(lines[1..], held);
    // Only JSON has a place for it among the messages.
    let outcome = place.run("sub md/x --from 0 --timeout 0.1 --format raw");
    let gap = &lines[0]["gap"];
    let told = format!("messages {} to {} are lost (overrun)", gap["from"], gap["to"]);
    assert!(outcome.stderr.contains(&told), "{outcome:?}");
    let held: String = held.iter().map(|line| line["payload"].as_str().unwrap()).collect();
    assert_eq!(outcome.stdout, held.as_bytes());
}

#[test]
fn a_subscriber_that_is_overrun_is_told_what_it_lost() {
    let place = Place::new();
    place.publish("pub md/x --create --ring-size 256KiB", numbers(0..1).as_bytes());
    let mut subscriber = place.start("sub md/x --from earliest --format json --mode lossy");
    assert_eq!(next_line(&mut subscriber)["offset"], json!(0));
    subscriber.stop();
    place.publish("pub md/x", numbers(1..MESSAGES).as_bytes());
    subscriber.signal("CONT");
    let mut lines = vec![next_line(&mut subscriber)];
    // Until the last message, however long it takes to come.
    while lines[lines.len() - 1]["offset"] != json!(MESSAGES - 1) {
        lines.push(next_line(&mut subscriber));
    }
    subscriber.signal("INT");
    assert_eq!(subscriber.outcome().done(), b"");
    assert!(!check_dense(&lines, 1).is_empty(), "it was not overrun");
}
