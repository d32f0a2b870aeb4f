//! Exit codes: 1 for what failed, 2 for what can never work.

use crate::place::Place;

#[test]
fn what_can_never_work_is_wrong_usage() {
    let place = Place::new();
    place.publish("pub md/x --create", b"");
    for (arguments, what) in [
        ("", "Usage"),
        ("publish md/x", "unrecognized subcommand"),
        ("sub md", "give BUS/TOPIC"),
        ("sub md/x/y", "no partition"),
        ("sub md/x --format xml", "text, json, hex, raw"),
        ("sub md/x --from yesterday", "live, earliest, an offset from 0, or a time"),
        ("sub md/x --from 2026-01-02", "such as 2026-01-02T03:04:05Z"),
        ("sub md/x --timeout -1", "--timeout"),
        ("sub md/x --timeout soon", "number of seconds"),
        ("sub md/x --count many", "--count"),
        ("sub md/x --mode fast", "lossy, reliable"),
        ("pub md/x --ring-size 1MiB", "--create"),
        ("pub md/y --create --ring-size 1MB", "such as 64MiB"),
        ("pub md/y --create --ring-size 3MiB", "power of two"),
        ("pub md/y --create --partitions 0", "1 to 1024"),
        ("pub m+d/y --create", "'+'"),
        ("pub md/x --length-prefixed --capture", "cannot be used with"),
        ("rm m+d", "'+'"),
        ("record md/x", "--dir"),
        ("record md --dir d", "give BUS/TOPIC"),
        ("record md/x --dir d --sync often", "none, always, or an interval such as 100ms"),
        ("record md/x --dir d --segment-size 1MB", "such as 64MiB"),
        ("record md/x --dir d --segment-size 3MiB", "power of two"),
        ("record md/x --dir d --give-up-after soon", "number of seconds"),
        ("replay", "D/TOPIC"),
        ("replay d/x --from live", "earliest, an offset from 0, or a time"),
        ("replay d/x --to earliest", "an offset from 0, or a time"),
        ("replay d/x --speed 0", "max, or a number above 0"),
        ("replay d/x --into md/x/0", "BUS/TOPIC alone"),
        ("replay d/x --into md/x --format json", "cannot be used with"),
        ("replay d/x --count 0", "--count"),
        ("journal", "Usage"),
        ("journal verify", "D[/TOPIC]"),
        ("journal dump d/x --from yesterday", "earliest, an offset from 0, or a time"),
    ] {
        place.run(arguments).failed(2, what);
    }
}

#[test]
fn what_is_not_there_fails_and_says_what_to_do() {
    let place = Place::new();
    place.publish("pub md/x --create", b"one\n");
    for (arguments, what) in [
        ("pub no/x", "tickcast: cannot open bus no:"),
        ("sub md/no", "create it first"),
        ("sub md/x/7", "there is no partition 7"),
        ("stat md/x/7", "there is no partition 7"),
        ("sub md/x --from 2", "partition 0 has no message 2 yet: the next one is 1"),
        ("pub md/x --create --partitions 2", "has a number of partitions of 1, not 2"),
        ("pub md/x --file /no/such/file", "cannot open /no/such/file"),
        ("rm no", "does not exist"),
    ] {
        let outcome = place.run(arguments);
        assert!(outcome.stderr.starts_with("tickcast: "), "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        outcome.failed(1, what);
    }
}

#[test]
fn a_bus_whose_topic_could_not_be_made_is_not_left_behind() {
    let place = Place::new();
    place.run("pub md/x --create --ring-size 3MiB").failed(2, "power of two");
    assert_eq!(place.done("ls --json"), b"");
    place.publish("pub md/x --create", b"");
    place.run("pub md/y --create --ring-size 3MiB").failed(2, "power of two");
    place.done("stat md/x");
}

#[test]
fn nothing_is_made_for_a_partition_that_would_not_be_there() {
    let place = Place::new();
    for arguments in ["pub new/w/9 --create", "pub new/w/2 --create --partitions 2"] {
        place.run(arguments).failed(1, "there is no partition");
        assert_eq!(place.done("ls --json"), b"");
        place.run("rm new").failed(1, "does not exist");
    }
    // What is there has as many partitions as it has.
    place.publish("pub new/w --create --partitions 3 --ring-size 256KiB", b"");
    place.publish("pub new/w/2 --create", b"two\n");
    assert_eq!(place.done("sub new/w/2 --from earliest --count 1"), b"two\n");
    place.run("pub new/w/3 --create").failed(1, "there is no partition 3");
}

#[test]
fn a_partition_has_one_publisher() {
    let place = Place::new();
    let mut first = place.start("pub md/x --create --partitions 2 --ring-size 256KiB");
    first.write(b"one\n");
    place.wait_for_topic("md/x");
    let mut subscriber = place.start("sub md/x --from earliest");
    assert_eq!(subscriber.line(), "one\n");
    let pid = format!("process {}", first.pid());
    place.run("pub md/x").failed(1, &pid);
    place.publish("pub md/x/1", b"two\n");
    assert_eq!(subscriber.line(), "two\n");
}

#[test]
fn a_message_that_does_not_fit_fails_after_those_before_it() {
    let place = Place::new();
    let mut input = b"short\n".to_vec();
    input.extend([b'x'; 65_537]);
    let outcome = place.run_with("pub md/x --create --ring-size 256KiB", &input);
    let told =
        "cannot read message 1 of the input to md/x/0: the line at byte 6 is longer than 65536";
    outcome.failed(1, told);
    assert_eq!(place.done("sub md/x --from earliest --timeout 0"), b"short\n");
}

#[test]
fn a_record_that_is_cut_fails_after_those_before_it() {
    let place = Place::new();
    let outcome = place.run_with("pub md/x --create --length-prefixed", b"\0\x01a\0\x05b");
    outcome.failed(1, "ends inside a record");
    assert_eq!(place.done("sub md/x --from earliest --timeout 0"), b"a\n");
}

#[test]
fn what_follows_the_end_of_a_session_fails_after_what_is_before_it() {
    let place = Place::new();
    let input = b"\0\x01a\0\0\0\x01b";
    let outcome = place.run_with("pub md/x --create --length-prefixed", input);
    outcome.failed(1, "before byte 5, but bytes follow");
    place.publish("pub md/x --length-prefixed", b"\0\x01c\0\0");
    assert_eq!(place.done("sub md/x --from earliest --timeout 0"), b"a\nc\n");
}
