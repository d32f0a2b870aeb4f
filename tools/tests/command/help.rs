//! The help of each subcommand.

use crate::place::Place;

const LINES: usize = 24;
const COLUMNS: usize = 80;

#[test]
fn each_help_fits_a_screen_and_has_an_example() {
    let place = Place::new();
    for command in [
        "",
        "pub",
        "sub",
        "ls",
        "stat",
        "rm",
        "record",
        "replay",
        "journal",
        "journal info",
        "journal verify",
        "journal dump",
        "journal truncate",
        "journal prune",
        "demo",
        "bench",
        "bench latency",
        "bench throughput",
        "bench fanout",
        "bench udp",
        "bench all",
        "bench journal",
        "bench replay",
    ] {
        let help = String::from_utf8(place.done(&format!("{command} --help"))).unwrap();
        // One line is the prompt's.
        assert!(help.lines().count() < LINES, "{command}: {help}");
        assert!(help.lines().all(|line| line.chars().count() <= COLUMNS), "{command}: {help}");
        assert!(help.contains("Example:\n  "), "{command}: {help}");
    }
}

#[test]
fn what_the_examples_show_works() {
    let place = Place::new();
    place.publish("pub md/trades --create --ring-size 64MiB --partitions 2", b"1\n2\n3\n4\n5\n");
    let first = place.done("sub md/trades --from earliest --count 5 --format json");
    assert!(first.starts_with(b"{\"offset\":0,"), "{first:?}");
    place.done("ls --json");
    place.done("stat md/trades --json");
    place.done("rm md --force");
}
