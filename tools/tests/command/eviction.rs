//! A subscriber that loses one of its partitions is told, and so is whoever started it.

use std::time::Duration;

use tickcast::{Bus, SlowSubscriber};

use crate::place::{Place, is_part};

fn make_topic() {
    let topic = Bus::create("md").unwrap().topic("x").ring_bytes(256 << 10).partitions(2);
    topic.slow_subscriber(SlowSubscriber::EvictAfter(Duration::from_millis(1))).create().unwrap();
}

#[test]
fn the_end_of_one_partition_is_told_and_fails_whatever_ends_the_command() {
    if is_part() {
        return make_topic();
    }
    let place = Place::new();
    place.play_part(
        "eviction::the_end_of_one_partition_is_told_and_fails_whatever_ends_the_command",
    );
    for option in ["", "--count 2", "--timeout 0.5"] {
        let mut subscriber = place.start(&format!("sub md/x --mode reliable {option}"));
        place.wait_for_stat("md/x/1", |stat| stat["subscribers"].as_array().unwrap().len() == 1);
        subscriber.stop();
        place.publish("pub md/x/0", &[&[b'x'; 60_000][..], b"\n"].concat().repeat(6));
        subscriber.signal("CONT");
        // The other one goes on. What is printed is seen once nothing else is left to be told.
        place.publish("pub md/x/1", b"still here\n");
        assert_eq!(subscriber.line(), "still here\n");
        match option {
            "" => subscriber.signal("INT"),
            "--count 2" => place.publish("pub md/x/1", b"and here\n"),
            _ => {}
        }
        let outcome = subscriber.outcome();
        let is_told = |line: &str| line.contains("md/x/0: ") && line.contains("evicted");
        assert!(outcome.stderr.lines().any(is_told), "{outcome:?}");
        outcome.failed(1, "1 of 2 partitions had ended");
    }
}
