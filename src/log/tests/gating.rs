//! Back-pressure: who holds the publisher back, and how it gets past them.

use super::super::block::{BLOCK_BYTES, block_start};
use super::super::gate::{Blocked, Gate};
use super::super::pages::{self, PAGE_BYTES};
use super::super::seat::{Covered, Seat};
use super::super::writer::{FRAME_PAYLOAD_BYTES_MAX, Writer};
use super::harness::*;
use crate::sync::Ordering;

const BLOCK: u64 = FRAME_PAYLOAD_BYTES_MAX;

fn try_block(writer: &mut Writer) -> Result<u64, Blocked> {
    writer.try_publish(0, &vec![0u8; BLOCK as usize][..])
}

fn joined(log: &Log, slot: usize, position: u64) -> Seat {
    let mut seat = log.seat(slot);
    assert_eq!(seat.join(position), Ok(()));
    seat
}

#[test]
fn the_slowest_holds_the_publisher_back_until_it_moves() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    let mut seats = [3, 60, 7].map(|slot| joined(&log, slot, 0));
    for _ in 0..4 {
        assert!(try_block(&mut writer).is_ok());
    }
    seats[0].store(block_start(1), 1);
    seats[2].store(block_start(3), 3);
    let reserved = {
        let blocked = try_block(&mut writer).expect_err("slot 60 is in block 0");
        assert_eq!(blocked, Blocked { slot: 60, generation: 1, cursor: 0 });
        log.reserved()
    };
    // A cursor inside a block still needs the block.
    seats[1].store(block_start(1) - 64, 0);
    assert_eq!(try_block(&mut writer).map_err(|blocked| blocked.slot), Err(60));
    assert_eq!(log.reserved(), reserved, "a reservation stands and is not made twice");
    seats[1].store(block_start(2), 2);
    assert_eq!(try_block(&mut writer), Ok(4));
    assert_eq!(try_block(&mut writer).map_err(|blocked| blocked.slot), Err(3));
    seats[0].leave();
    assert_eq!(try_block(&mut writer), Ok(5));
    assert_eq!(try_block(&mut writer).map_err(|blocked| blocked.slot), Err(60));
}

#[test]
fn a_train_waits_for_all_of_its_blocks_before_its_first_fragment() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    let seat = joined(&log, 0, 0);
    for _ in 0..3 {
        assert!(try_block(&mut writer).is_ok());
    }
    let bytes = payload(3, RING_BYTES / 4);
    let snapshot = log.snapshot();
    assert!(writer.try_publish(3, &bytes[..]).is_err());
    assert_eq!(log.snapshot()[0], snapshot[0], "nothing was written");
    seat.store(block_start(1), 1);
    assert_eq!(writer.try_publish(3, &bytes[..]), Ok(3));
}

#[test]
fn a_joiner_is_covered_once_its_block_is_reserved_again() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    for _ in 0..4 {
        assert!(try_block(&mut writer).is_ok());
    }
    let seat = joined(&log, 0, 64 * 5);
    assert!(try_block(&mut writer).is_err());
    // Reserved though it was not entered: nobody else may rely on block 0.
    let mut late = log.seat(1);
    assert_eq!(late.join(64 * 9), Err(Covered));
    assert_eq!(late.join(block_start(1)), Ok(()));
    seat.store(block_start(2), 2);
    assert!(try_block(&mut writer).is_ok());
    assert_eq!(try_block(&mut writer).map_err(|blocked| blocked.slot), Err(1));
}

#[test]
fn the_evicted_are_told_and_their_slot_can_be_taken_again() {
    let log = Log::new(RING_BYTES);
    let mut writer = log.writer();
    let seat = joined(&log, 5, 0);
    let other = joined(&log, 6, 0);
    for _ in 0..4 {
        assert!(try_block(&mut writer).is_ok());
    }
    for (count, act) in [Gate::evict, Gate::reclaim].into_iter().enumerate() {
        let blocked = try_block(&mut writer).expect_err("someone is in block 0");
        assert_eq!(blocked.slot, 5 + count);
        act(writer.gate(), blocked);
    }
    assert!(try_block(&mut writer).is_ok());
    assert!(seat.is_evicted() && other.is_evicted());
    let page = &log.pages.publisher;
    assert_eq!(page.load(pages::publisher::EVICTIONS, Ordering::Relaxed), 1);
    assert_eq!(page.load(pages::publisher::RECLAIMED, Ordering::Relaxed), 1);
    // What was disregarded stays so, though everyone is enumerated anew, also by a successor.
    let last = joined(&log, 9, block_start(4));
    for _ in 0..3 {
        assert!(try_block(&mut writer).is_ok());
    }
    drop(writer);
    let mut writer = log.writer();
    assert_eq!(try_block(&mut writer).map_err(|blocked| blocked.slot), Err(9));
    let again = joined(&log, 5, block_start(7));
    assert!(!again.is_evicted() && !last.is_evicted());
}

#[test]
fn a_wild_cursor_is_evicted_and_the_others_go_on_gating() {
    for wild in [u64::MAX, 64 * BLOCK_BYTES, 64] {
        let log = Log::new(RING_BYTES);
        let mut writer = log.writer();
        let wrong = joined(&log, 0, 0);
        let sound = joined(&log, 1, 0);
        for _ in 0..4 {
            assert!(try_block(&mut writer).is_ok());
        }
        wrong.store(block_start(2), 0);
        sound.store(block_start(1), 0);
        assert!(try_block(&mut writer).is_ok());
        wrong.store(wild, 0);
        assert_eq!(try_block(&mut writer).map_err(|blocked| blocked.slot), Err(1));
        assert!(wrong.is_evicted(), "with its cursor at {wild}");
        assert!(!sound.is_evicted());
    }
}

#[test]
fn a_slot_whose_page_was_overwritten_gates_for_its_next_owner() {
    for wild in [0, 1, 3, u64::MAX, u64::MAX - 1] {
        let log = Log::new(RING_BYTES);
        let mut writer = log.writer();
        let _first = joined(&log, 0, 0);
        for _ in 0..4 {
            assert!(try_block(&mut writer).is_ok());
        }
        let blocked = try_block(&mut writer).expect_err("slot 0 is in block 0");
        writer.gate().reclaim(blocked);
        assert!(try_block(&mut writer).is_ok());
        log.cursors.part(0, PAGE_BYTES).store(pages::cursor::STATE, wild, Ordering::Relaxed);
        let next = joined(&log, 0, block_start(4));
        assert!(!next.is_evicted(), "after a state of {wild:#x}");
        for _ in 0..3 {
            assert!(try_block(&mut writer).is_ok());
        }
        assert_eq!(try_block(&mut writer).map_err(|blocked| blocked.slot), Err(0));
    }
}
