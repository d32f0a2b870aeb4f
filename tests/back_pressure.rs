//! When a publisher may go on that waits for a subscriber.

mod common;

use common::TestBus;
use tickcast::{Event, PublishError};

/// A subscriber that reads on and on gives each block back as it leaves it, whether or not messages
/// fill it to the end.
#[test]
fn a_block_is_given_back_as_it_is_left() {
    for length in [48, 150, 400, 5000] {
        let bus = TestBus::new();
        let topic = bus.topic("t").ring_bytes(256 << 10).create().expect("a topic");
        let mut subscriber = topic.subscribe().reliable().open().expect("a free slot");
        let mut publisher = topic.publisher(0).expect("nobody else publishes");
        let payload = vec![7_u8; length];
        while publisher.try_publish(0, &payload[..]).is_ok() {}
        let in_a_block = 65_408 / (16 + length).next_multiple_of(64);
        let (mut taken, mut went_on) = (0, None);
        // One poll for all: what it reports in between, it reports from within.
        subscriber.poll(usize::MAX, |event| {
            let Event::Message(_) = event else { panic!("{event:?}") };
            taken += 1;
            match publisher.try_publish(0, &payload[..]) {
                Ok(_) => {
                    went_on.get_or_insert(taken);
                }
                Err(PublishError::Full(_)) => {}
                Err(error) => panic!("{error}"),
            }
            if taken > 3 * in_a_block { tickcast::Flow::Stop } else { tickcast::Flow::Next }
        });
        // The first message behind the block's edge is handed out after the block was given back.
        assert_eq!(went_on, Some(in_a_block + 1), "{length} bytes");
    }
}
