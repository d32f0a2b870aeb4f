//! Nothing is allocated after the start: neither by publishing nor by receiving, whatever happens.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tickcast::runtime::{Agent, Core, IdleStrategy};
use tickcast::{
    Event, Flow, LossCause, NoticeKind, Order, Sequencer, SlowSubscriber, StartAt, WakeUp,
};

use common::TestBus;
use common::child::HANGING;

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

#[test]
fn sequencing_allocates_nothing() {
    let bus = TestBus::new();
    let input = bus.topic("input").ring_bytes(1 << 20).partitions(3).create().expect("a topic");
    let output = bus.topic("output").ring_bytes(1 << 20).create().expect("a topic");
    let mut publishers = input.publishers().expect("all three");
    let mut reader = output.subscribe().reliable().open().expect("a slot");
    let mut sequencer = Sequencer::new(&[&input], &output).expect("a new output");
    let (mut sequenced, mut read) = (0, 0);
    for round in 0..100u64 {
        for publisher in &mut publishers {
            for _ in 0..1 + round % 20 {
                publisher.publish(round, &[round; 9]).expect("room");
            }
            if round % 10 == 9 {
                let next = publisher.next_offset();
                publisher.try_publish_gap(0, next + 2, LossCause::Feed).expect("room");
            }
        }
        without_allocating("a batch of the sequencer", || {
            while sequencer.poll() > 0 {
                sequenced += 1;
            }
        });
        while reader.poll(1000, |_| read += 1) > 0 {}
    }
    assert!(sequencer.failure().is_none());
    assert!(sequenced >= 100 && read > 3 * 100, "{sequenced} batches, {read} messages");
}

/// Keeps what its thread has allocated since it was polled first, and how often it was polled.
struct Witness {
    first: Option<u64>,
    allocations: Arc<AtomicU64>,
    polls: Arc<AtomicU64>,
}

impl Agent for Witness {
    fn name(&self) -> &str {
        "witness"
    }
    fn poll(&mut self) -> usize {
        let now = ALLOCATIONS.get();
        let first = *self.first.get_or_insert(now);
        self.allocations.store(now - first, Ordering::Relaxed);
        // Work at every other poll, so that the core idles too.
        self.polls.fetch_add(1, Ordering::Relaxed) as usize % 2
    }
}

#[test]
fn a_core_allocates_nothing() {
    let (allocations, polls) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let mut core = Core::builder("core").idle(IdleStrategy::Sleep { sleep_ns_max: 10_000 });
    for _ in 0..2 {
        let (allocations, polls) = (Arc::clone(&allocations), Arc::clone(&polls));
        core = core.agent(Box::new(Witness { first: None, allocations, polls }));
    }
    let core = core.start().expect("a thread");
    let started = Instant::now();
    while polls.load(Ordering::Relaxed) < 1000 {
        assert!(started.elapsed() < HANGING, "the core does not poll");
        std::thread::yield_now();
    }
    core.stop().expect("nobody panics");
    assert_eq!(allocations.load(Ordering::Relaxed), 0);
}
