//! Nothing is allocated after the start: neither by publishing nor by receiving, whatever happens.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use tickcast::{Event, Flow, LossCause, NoticeKind, Order, SlowSubscriber, StartAt, WakeUp};

use common::TestBus;

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may have no counter any more.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: handed on from the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: handed on from the caller.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: handed on from the caller.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: handed on from the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `act`, which must not allocate.
fn without_allocating<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let before = ALLOCATIONS.get();
    let result = act();
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations of {what}");
    result
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    std::hint::black_box(vec![1u8; 100]);
    assert!(ALLOCATIONS.get() > before);
}

#[test]
fn publishing_and_receiving_allocate_nothing() {
    let bus = TestBus::new();
    for slow in [SlowSubscriber::Wait, SlowSubscriber::EvictAfter(Duration::from_secs(60))] {
        let name = if slow == SlowSubscriber::Wait { "waits" } else { "evicts" };
        let topic = bus.topic(name).ring_bytes(1 << 20).slow_subscriber(slow).create();
        let topic = topic.expect("a topic");
        let mut reliable = topic.subscribe().reliable().open().expect("a slot");
        let mut lossy = topic.subscribe().start_at(StartAt::Earliest).open().expect("readable");
        let mut publisher = topic.publisher(0).expect("the first");
        let long = vec![7u8; 200_000];
        let small: Vec<(u64, &[u8])> = (0..50).map(|at| (at, &long[..at as usize * 3])).collect();
        let (mut messages, mut bytes) = (0u64, 0u64);
        let (mut lossy_messages, mut lost) = (0, 0);
        for round in 0..400u64 {
            without_allocating("publish", || {
                for at in 0..50 {
                    publisher.publish(at, &[at; 6]).expect("room");
                }
                publisher.try_publish(round, &long[..1000]).expect("room");
            });
            without_allocating("a batch", || publisher.publish_batch(&small).expect("room"));
            without_allocating("a claim", || {
                publisher.claim(100).expect("room").put(0, b"dropped");
                let mut claim = publisher.claim(300).expect("room");
                claim.put(17, &[1u64, 2, 3]);
                claim.commit(round);
            });
            without_allocating("a gap", || {
                let next = publisher.next_offset();
                publisher.try_publish_gap(0, next + 2, LossCause::Feed).expect("room");
            });
            without_allocating("a fragmented message", || {
                publisher.publish(round, &long[..]).expect("room")
            });
            let mut handle = |event: Event<'_>| match event {
                Event::Message(message) => {
                    messages += 1;
                    bytes += message.payload.len() as u64;
                    Flow::Next
                }
                Event::Notice(_) => Flow::Stop,
            };
            without_allocating("poll", || reliable.poll(40, &mut handle));
            without_allocating("receive", || {
                for _ in 0..20 {
                    handle(reliable.receive(None).expect("not finished").expect("there is one"));
                }
            });
            without_allocating("batches", || {
                loop {
                    let count = match reliable.batch() {
                        Ok(batch) => batch.map(|m| handle(Event::Message(m))).count(),
                        Err(notice) => usize::from(handle(Event::Notice(notice)) == Flow::Stop),
                    };
                    if count == 0 {
                        break;
                    }
                }
            });
            without_allocating("waiting in vain", || {
                let received = reliable.receive(Some(Duration::from_micros(200)));
                assert_eq!(received, Ok(None));
            });
            // Overrun most times.
            if round % 12 == 11 {
                without_allocating("a lossy poll", || {
                    while lossy.poll(1000, |event| match event {
                        Event::Message(_) => lossy_messages += 1,
                        Event::Notice(notice) => match notice.kind {
                            NoticeKind::Lost { from, to, .. } => lost += to - from + 1,
                            kind => panic!("{kind}"),
                        },
                    }) > 0
                    {}
                });
            }
        }
        drop(publisher);
        without_allocating("a notice of death", || {
            let told = reliable.receive(None).expect("not finished").expect("waits for ever");
            assert!(
                matches!(told, Event::Notice(notice) if notice.kind == NoticeKind::PublisherGone)
            );
        });
        assert_eq!(messages, 400 * (50 + 1 + 50 + 1 + 1));
        assert!(bytes > 400 * 200_000);
        assert!(lossy_messages > 0 && lost > 400 * 3, "{lossy_messages} messages, {lost} lost");
    }
}

#[test]
fn merging_and_being_woken_allocate_nothing() {
    let bus = TestBus::new();
    let topic = bus.topic("t").ring_bytes(1 << 20).partitions(3).wake_up(WakeUp::Prompt).create();
    let topic = topic.expect("a topic");
    let mut publishers = topic.publishers().expect("all three");
    let mut woken = topic.subscribe().reliable().open().expect("a slot");
    let order = Order::Timestamp { hold: Duration::from_millis(1) };
    let mut merged = topic.subscribe().reliable().order(order).open().expect("a slot");
    for round in 0..30u64 {
        without_allocating("waiting to be woken", || {
            assert_eq!(woken.receive(Some(Duration::from_millis(2))), Ok(None));
        });
        without_allocating("publish", || {
            for publisher in &mut publishers {
                publisher.publish(round, &[round; 3]).expect("room");
            }
        });
        without_allocating("receive", || {
            for _ in 0..3 {
                assert!(matches!(woken.receive(None), Ok(Some(Event::Message(_)))));
                assert!(matches!(merged.receive(None), Ok(Some(Event::Message(_)))));
            }
        });
    }
}
