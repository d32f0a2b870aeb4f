//! Each peer's two ends: everything that is sent arrives once, in order and unchanged, in both
//! directions, one by one and in batches, also where the sender has to wait for room. Of those that
//! carry no streams, only where one message is under way.
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tickcast_harness::message::{Payload, Words, message};
use tickcast_harness::spin::{PAUSING, spin_until};
use tickcast_harness::transport::{Link, Mode, Receiver, Run, Sender, Transport};
use tickcast_peers::{
    crossbeam_channel, disruptor, iceoryx2, pipe, rtrb, udp_loopback, unix_datagram,
};

/// More than Aeron holds, which has half of a term of its own size.
const SENT_BYTES: usize = 17 << 20;
/// A receiver that is slow at first, so that its sender finds no room.
const SLOW_POLLS: u64 = 10;
const BATCH: u64 = 10;
const LIMIT: usize = 7;
/// Round trips one by one.
const ASKED: u64 = 1_000;

/// Sends messages, every other ten of them in a batch.
fn send_all<const W: usize>(sender: &mut impl Sender<W>, count: u64) -> Result<()> {
    for first in (0..count).step_by(BATCH as usize) {
        let numbers = first..count.min(first + BATCH);
        if (first / BATCH).is_multiple_of(2) {
            let messages: Vec<Words<W>> = numbers.map(message).collect();
            sender.send_all(&messages)?;
        } else {
            for number in numbers {
                sender.send(&message(number))?;
            }
        }
    }
    Ok(())
}

fn receive_all<const W: usize>(receiver: &mut impl Receiver<W>, count: u64) -> Result<()> {
    let (mut next, mut polls) = (0, 0);
    while next < count {
        spin_until::<PAUSING>(|| {
            let before = next;
            let polled = receiver.poll(LIMIT, |found| {
                assert!(*found == message(next), "message {next} is {:?}", &found[..2]);
                next += 1;
            })?;
            assert!(polled <= LIMIT && polled as u64 == next - before, "{polled} from {before}");
            Ok(polled > 0)
        })?;
        polls += 1;
        if polls < SLOW_POLLS {
            thread::sleep(Duration::from_millis(10));
        }
    }
    let more = receiver.poll(LIMIT, |found| panic!("{:?} came, too", &found[..2]))?;
    assert_eq!((more, receiver.lost()), (0, 0));
    Ok(())
}

/// Asks, and waits for each answer.
fn ask_all<const W: usize>(
    (receiver, sender): &mut (impl Receiver<W>, impl Sender<W>),
    count: u64,
) -> Result<()> {
    for number in 0..count {
        sender.send(&message(number))?;
        receive_one(receiver, number)?;
    }
    Ok(())
}

fn answer_all<const W: usize>(
    (receiver, sender): &mut (impl Receiver<W>, impl Sender<W>),
    count: u64,
) -> Result<()> {
    for number in 0..count {
        receive_one(receiver, number)?;
        sender.send(&message(number))?;
    }
    Ok(())
}

fn receive_one<const W: usize>(receiver: &mut impl Receiver<W>, number: u64) -> Result<()> {
    spin_until::<PAUSING>(|| {
        let take = |found: &Words<W>| assert!(*found == message(number), "{number}: {found:?}");
        Ok(receiver.poll(LIMIT, take)? > 0)
    })
}

fn carries<T: Transport, const W: usize>() {
    let directory = tempfile::Builder::new().prefix("tickcast-peers-").tempdir_in("/dev/shm");
    let directory = directory.unwrap();
    let run = Run::new(directory.path().to_owned(), "no-bus".to_owned(), Mode::Reliable);
    let payload = Payload::try_from(size_of::<Words<W>>()).unwrap();
    let [ping, pong] =
        ["ping", "pong"].map(|name| Link { run: &run, name: name.to_owned(), payload });
    let _kept = [T::create::<W>(&ping).unwrap(), T::create::<W>(&pong).unwrap()];
    let mut near = (T::receiver::<W>(&pong).unwrap(), T::sender::<W>(&ping).unwrap());
    let count = (3 * ping.slots() + 1).max(SENT_BYTES / size_of::<Words<W>>().max(64)) as u64;
    thread::scope(|scope| {
        let (opened, is_open) = channel();
        let (ping, pong) = (&ping, &pong);
        let (done, is_done) = channel::<()>();
        scope.spawn(move || {
            let mut far = (T::receiver::<W>(ping).unwrap(), T::sender::<W>(pong).unwrap());
            opened.send(()).unwrap();
            answer_all(&mut far, ASKED).unwrap();
            if T::STREAMS {
                receive_all(&mut far.0, count).unwrap();
                send_all(&mut far.1, count).unwrap();
            }
            // Its ends stay until all has been received: then the other side hangs up.
            let _ = is_done.recv();
        });
        is_open.recv().unwrap();
        ask_all(&mut near, ASKED).unwrap();
        // Whoever helps it may rest between blocks.
        T::rest(&run).unwrap();
        T::wake(&run).unwrap();
        if T::STREAMS {
            send_all(&mut near.1, count).unwrap();
            receive_all(&mut near.0, count).unwrap();
        }
        drop(done);
    });
}

fn carries_all_sizes<T: Transport>() {
    carries::<T, 2>();
    carries::<T, 6>();
    carries::<T, 2048>();
}

#[test]
fn rtrb_carries() {
    carries_all_sizes::<rtrb::Rtrb>();
}

#[test]
fn disruptor_carries() {
    carries_all_sizes::<disruptor::Disruptor>();
}

#[test]
fn crossbeam_channel_carries() {
    carries_all_sizes::<crossbeam_channel::CrossbeamChannel>();
}

#[test]
fn iceoryx2_carries() {
    carries_all_sizes::<iceoryx2::Iceoryx2>();
    carries_all_sizes::<iceoryx2::Iceoryx2Overflow>();
}

#[test]
fn unix_datagrams_carry() {
    carries_all_sizes::<unix_datagram::UnixDatagrams>();
}

#[test]
fn pipes_carry() {
    carries_all_sizes::<pipe::Pipe>();
}

#[test]
fn udp_loopback_carries() {
    carries_all_sizes::<udp_loopback::UdpLoopback>();
}

#[cfg(feature = "aeron")]
#[test]
fn aeron_carries() {
    use tickcast_peers::aeron::{Aeron, AeronOffer, AeronSpinning, BINARY};
    // A test's binary is not the one that plays the driver.
    BINARY.set(env!("CARGO_BIN_EXE_tickcast-peers").into()).unwrap();
    carries_all_sizes::<Aeron>();
    carries_all_sizes::<AeronOffer>();
    if rustix::thread::sched_getaffinity(None).unwrap().count() > 2 {
        carries_all_sizes::<AeronSpinning>();
    } else {
        eprintln!("aeron spinning: skipped, its driver needs a third core");
    }
}
