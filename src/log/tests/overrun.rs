//! A publisher at full speed, and readers that it overruns, in threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::super::copy::Stall;
use super::super::reader::Frame;
use super::super::seek;
use super::harness::*;

const MESSAGES: u64 = 120_000;
const BYTES_MAX: u64 = 300;
const BATCH: u64 = 16;

/// Most messages are small; a few are trains.
fn length(offset: u64) -> u64 {
    if offset.is_multiple_of(5000) { RING_BYTES / 4 } else { length_of(offset, BYTES_MAX) }
}

/// Reads until the publisher is done and nothing is left. Returns messages and losses.
fn read(log: &Log, done: &AtomicBool, nap_every: u64) -> (u64, u64) {
    let (mut due, mut seen, mut lost) = (0u64, 0u64, 0u64);
    let mut reader = log.copied(log.earliest(Some(0)));
    loop {
        let was_done = done.load(Ordering::Acquire);
        match reader.peek() {
            Ok(Some(Frame::Message(message))) => {
                assert_eq!(message.offset, due);
                assert_eq!(message.timestamp_ns, due);
                assert!(message.payload == payload(due, length(due)), "message {due} is torn");
                (due, seen) = (due + 1, seen + 1);
            }
            Ok(Some(Frame::Lost { from, to, cause: None })) => {
                assert_eq!(from, due);
                (due, lost) = (to + 1, lost + to + 1 - from);
            }
            Ok(None) if was_done => break,
            Ok(None) => {
                thread::yield_now();
                continue;
            }
            Err(Stall::Overrun) => {
                let newest = seek::newest(&log.ring, 0, log.reserved());
                // Blocks are entered while one looks, so there may be none just now.
                if let Ok(Some(newest)) = newest {
                    reader.restart(newest.saturating_sub(log.ring.blocks() / 2));
                }
                continue;
            }
            other => panic!("{other:?} where {due} was due"),
        }
        reader.consume();
        if seen.is_multiple_of(nap_every) {
            thread::sleep(Duration::from_micros(300));
        }
    }
    assert_eq!(due, MESSAGES);
    assert_eq!(seen + lost, MESSAGES);
    (seen, lost)
}

#[test]
fn no_torn_message_is_handed_out_while_the_publisher_overruns() {
    let log = Log::new(RING_BYTES);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = [500, 3000, u64::MAX]
            .into_iter()
            .map(|nap_every| {
                scope.spawn({
                    let (log, done) = (&log, &done);
                    move || read(log, done, nap_every)
                })
            })
            .collect();
        let payloads: Vec<_> = (0..MESSAGES / 4).map(|at| payload(at, length(at))).collect();
        let mut writer = log.writer();
        let mut offset = 0;
        while offset < MESSAGES {
            // One by one and in batches, in turn.
            let is_batch = offset % 100 < 50;
            let end = MESSAGES.min(offset + if is_batch { BATCH } else { 1 });
            let made: Vec<_> = (offset.max(payloads.len() as u64)..end)
                .map(|at| payload(at, length(at)))
                .collect();
            let ready = payloads.iter().skip(offset as usize).chain(&made);
            let batch: Vec<_> = (offset..end).zip(ready.map(Vec::as_slice)).collect();
            if is_batch {
                offset += writer.try_publish_batch(&batch).expect("nobody gates it") as u64;
            } else {
                assert_eq!(writer.try_publish(offset, batch[0].1), Ok(offset));
                offset += 1;
            }
        }
        done.store(true, Ordering::Release);
        let lost: u64 = readers.into_iter().map(|reader| reader.join().expect("a reader").1).sum();
        assert!(lost > 0, "nobody was ever overrun: this run has shown nothing");
    });
}
