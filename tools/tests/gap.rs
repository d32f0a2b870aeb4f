//! A gap that the publisher tells of, as the command prints it. Alone in its binary: the library
//! finds its directory by a variable, which the whole process has in common.

use std::process::Command;

use tickcast::{Bus, LossCause};

#[test]
fn a_gap_of_the_feed_is_a_line_with_both_ends() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    // SAFETY: no other test runs in this process, and nothing else in it looks at variables now.
    unsafe { std::env::set_var("TICKCAST_DIR", dir.path()) };
    for (name, partitions, end) in [("one", 1, ""), ("two", 2, ",\"partition\":0")] {
        let bus = Bus::create(name).unwrap();
        let topic =
            bus.topic("feed").ring_bytes(256 << 10).partitions(partitions).create().unwrap();
        let mut publisher = topic.publisher(0).unwrap();
        publisher.publish(7, b"zero").unwrap();
        publisher.try_publish_gap(8, 4, LossCause::Feed).unwrap();
        publisher.publish(9, b"five").unwrap();
        publisher.try_publish_gap(10, 6, LossCause::Journal).unwrap();

        let output = Command::new(env!("CARGO_BIN_EXE_tickcast"))
            .args(["sub", &format!("{name}/feed/0"), "--from", "earliest"])
            .args(["--format", "json", "--timeout", "0.1"])
            .output()
            .unwrap();
        let place = if end.is_empty() { "" } else { "\"partition\":0," };
        let expected = format!(
            "{{\"offset\":0,\"timestamp\":7,{place}\"payload\":\"zero\"}}\n\
             {{\"gap\":{{\"from\":1,\"to\":4,\"cause\":\"feed\"}}{end}}}\n\
             {{\"offset\":5,\"timestamp\":9,{place}\"payload\":\"five\"}}\n\
             {{\"gap\":{{\"from\":6,\"to\":6,\"cause\":\"journal\"}}{end}}}\n"
        );
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        assert!(output.status.success());
    }
}
