//! What ends the command, and how.

use crate::place::Place;

#[test]
fn count_and_offset_choose_the_messages() {
    let place = Place::new();
    place.publish("pub md/x --create", b"0\n1\n2\n3\n4\n");
    assert_eq!(place.done("sub md/x --from earliest --count 2"), b"0\n1\n");
    assert_eq!(place.done("sub md/x --from 3 --count 2"), b"3\n4\n");
    assert_eq!(place.done("sub md/x --from 5 --timeout 0.1"), b"");
}

#[test]
fn a_timeout_fails_only_where_messages_are_missing() {
    let place = Place::new();
    place.publish("pub md/x --create", b"0\n1\n");
    assert_eq!(place.done("sub md/x --from earliest --timeout 0.1"), b"0\n1\n");
    assert_eq!(place.done("sub md/x --timeout 0.1"), b"");
    let outcome = place.run("sub md/x --from earliest --count 3 --timeout 0.1");
    assert_eq!(outcome.stdout, b"0\n1\n");
    outcome.failed(1, "2 of 3");
}

#[test]
fn a_live_subscriber_goes_on_with_the_next_publisher() {
    let place = Place::new();
    place.publish("pub md/x --create", b"before\n");
    let mut subscriber = place.start("sub md/x --mode reliable");
    place.wait_for_stat("md/x", |stat| stat["subscribers"].as_array().unwrap().len() == 1);
    for text in ["one\n", "two\n"] {
        place.publish("pub md/x", text.as_bytes());
        assert_eq!(subscriber.line(), text);
    }
    subscriber.signal("INT");
    let outcome = subscriber.outcome();
    assert!(outcome.stderr.contains("md/x/0: "), "{outcome:?}");
    outcome.done();
}

#[test]
fn ctrl_c_ends_a_subscriber() {
    for signal in ["INT", "TERM"] {
        let place = Place::new();
        place.publish("pub md/x --create", b"0\n1\n");
        let mut subscriber = place.start("sub md/x --from earliest --mode reliable");
        assert_eq!(subscriber.line(), "0\n");
        subscriber.signal(signal);
        assert_eq!(subscriber.outcome().done(), b"1\n");
        place.publish("pub md/x", b"2\n");
        assert_eq!(place.done("sub md/x --from 2 --count 1"), b"2\n");
    }
}

#[test]
fn ctrl_c_ends_a_publisher_without_its_unfinished_line() {
    let place = Place::new();
    let mut publisher = place.start("pub md/x --create");
    publisher.write(b"whole\nunfin");
    place.wait_for_topic("md/x");
    let mut subscriber = place.start("sub md/x --from earliest");
    assert_eq!(subscriber.line(), "whole\n");
    publisher.signal("INT");
    publisher.outcome().done();
    place.publish("pub md/x", b"next\n");
    assert_eq!(subscriber.line(), "next\n");
}

#[test]
fn ctrl_c_ends_a_publisher_that_waits_for_a_subscriber() {
    let place = Place::new();
    place.publish("pub md/x --create --ring-size 256KiB", b"");
    let subscriber = place.start("sub md/x --mode reliable");
    place.wait_for_stat("md/x", |stat| stat["subscribers"].as_array().unwrap().len() == 1);
    subscriber.stop();
    let mut publisher = place.start("pub md/x");
    // More than the ring holds; what does not fit there fits into the pipe.
    for _ in 0..14 {
        publisher.write(&[&[b'x'; 20_000][..], b"\n"].concat());
    }
    place.wait_for_stat("md/x", |stat| stat["full_waits"].as_u64().unwrap() > 0);
    publisher.signal("INT");
    publisher.outcome().done();
    subscriber.signal("CONT");
    subscriber.signal("INT");
    subscriber.outcome().done();
}

#[test]
fn a_reader_that_stops_ends_a_subscriber_quietly() {
    let place = Place::new();
    place.publish("pub md/x --create", b"0\n");
    let mut subscriber = place.start("sub md/x --from earliest --format json");
    assert!(subscriber.line().contains("\"offset\":0"));
    let outcome = subscriber.stop_reading();
    assert!(!outcome.stderr.contains("pipe"), "{outcome:?}");
    outcome.done();
}

#[test]
fn a_bus_in_use_is_removed_by_force_only() {
    let place = Place::new();
    place.publish("pub md/x --create", b"0\n");
    let mut subscriber = place.start("sub md/x --from earliest");
    assert_eq!(subscriber.line(), "0\n");
    place.run("rm md").failed(1, "bus md is in use");
    place.done("stat md/x");
    place.done("rm md --force");
    subscriber.outcome().failed(1, "tickcast: md/x/0: its bus was removed");
    place.run("stat md/x").failed(1, "create it first");
    place.publish("pub md/x --create", b"again\n");
    place.done("rm md");
}

#[test]
fn a_forced_removal_ends_all_partitions_of_a_subscriber() {
    let place = Place::new();
    place.publish("pub md/x --create --partitions 3 --ring-size 256KiB", b"0\n");
    let mut subscriber = place.start("sub md/x --from earliest");
    assert_eq!(subscriber.line(), "0\n");
    place.done("rm md --force");
    let outcome = subscriber.outcome();
    assert_eq!(outcome.stderr.matches("its bus was removed").count(), 3, "{outcome:?}");
    outcome.failed(1, "bus was removed");
}
