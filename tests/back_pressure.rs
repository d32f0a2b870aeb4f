//! When a publisher may go on that waits for a subscriber.

mod common;

use common::TestBus;
use tickcast::{Event, Flow, PublishError, Publisher, Subscriber};

/// Takes messages and publishes one for each until that works. Returns how many it has taken.
type Take = fn(&mut Subscriber, &mut dyn FnMut() -> bool) -> usize;

fn poll(subscriber: &mut Subscriber, publish: &mut dyn FnMut() -> bool) -> usize {
    let (mut taken, mut went_on) = (0, false);
    // One poll for all: what it reports in between, it reports from within.
    subscriber.poll(usize::MAX, |event| {
        let Event::Message(_) = event else { panic!("{event:?}") };
        taken += 1;
        went_on = publish();
        if went_on { Flow::Stop } else { Flow::Next }
    });
    assert!(went_on);
    taken
}

fn batch(subscriber: &mut Subscriber, publish: &mut dyn FnMut() -> bool) -> usize {
    let mut taken = 0;
    loop {
        for _ in subscriber.batch().expect("only messages") {
            taken += 1;
            if publish() {
                return taken;
            }
        }
    }
}

fn receive(subscriber: &mut Subscriber, publish: &mut dyn FnMut() -> bool) -> usize {
    for taken in 1.. {
        let event = subscriber.receive(None).expect("not in an agent");
        assert!(matches!(event, Some(Event::Message(_))), "{event:?}");
        if publish() {
            return taken;
        }
    }
    unreachable!("there are so many numbers")
}

fn fills(publisher: &mut Publisher, payload: &[u8]) -> bool {
    match publisher.try_publish(0, payload) {
        Ok(_) => true,
        Err(PublishError::Full(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// A subscriber that reads on and on gives each block back as it leaves it, whether or not messages
/// fill it to the end, and before it has the first message behind its edge.
#[test]
fn a_block_is_given_back_as_it_is_left() {
    for (how, take) in [("poll", poll as Take), ("batch", batch), ("receive", receive)] {
        for length in [48, 150, 400, 5000] {
            let bus = TestBus::new();
            let topic = bus.topic("t").ring_bytes(256 << 10).create().expect("a topic");
            let mut subscriber = topic.subscribe().reliable().open().expect("a free slot");
            let mut publisher = topic.publisher(0).expect("nobody else publishes");
            let payload = vec![7_u8; length];
            while fills(&mut publisher, &payload) {}
            let in_a_block = 65_408 / (16 + length).next_multiple_of(64);
            let taken = take(&mut subscriber, &mut || fills(&mut publisher, &payload));
            assert_eq!(taken, in_a_block + 1, "{how}, {length} bytes");
        }
    }
}
