//! A gap that the publisher tells of, as the command prints it.

use tickcast::{Bus, LossCause};

use crate::place::{Place, is_part};

const BUSES: [(&str, u32); 2] = [("one", 1), ("two", 2)];

fn publish_gaps() {
    for (name, partitions) in BUSES {
        let bus = Bus::create(name).unwrap();
        let topic =
            bus.topic("feed").ring_bytes(256 << 10).partitions(partitions).create().unwrap();
        let mut publisher = topic.publisher(0).unwrap();
        publisher.publish(7, b"zero").unwrap();
        publisher.try_publish_gap(8, 4, LossCause::Feed).unwrap();
        publisher.publish(9, b"five").unwrap();
        publisher.try_publish_gap(10, 6, LossCause::Journal).unwrap();
    }
}

#[test]
fn a_gap_of_the_feed_is_a_line_with_both_ends() {
    if is_part() {
        return publish_gaps();
    }
    let place = Place::new();
    place.play_part("gap::a_gap_of_the_feed_is_a_line_with_both_ends");
    for (name, partitions) in BUSES {
        let command = format!("sub {name}/feed/0 --from earliest --format json --timeout 0.1");
        let (place_in_message, end) =
            if partitions == 1 { ("", "") } else { ("\"partition\":0,", ",\"partition\":0") };
        let expected = format!(
            "{{\"offset\":0,\"timestamp\":7,{place_in_message}\"payload\":\"zero\"}}\n\
             {{\"gap\":{{\"from\":1,\"to\":4,\"cause\":\"feed\"}}{end}}}\n\
             {{\"offset\":5,\"timestamp\":9,{place_in_message}\"payload\":\"five\"}}\n\
             {{\"gap\":{{\"from\":6,\"to\":6,\"cause\":\"journal\"}}{end}}}\n"
        );
        assert_eq!(String::from_utf8(place.done(&command)).unwrap(), expected);
    }
}
