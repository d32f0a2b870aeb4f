//! Sleeping and waking: edge `wake`. No wake-up is lost, with two sleepers and with a waker beside
//! the writer; a lost one is a deadlock, as loom's futex has no time-out.

use std::time::Duration;

use loom::thread;

use super::{Log, Outcomes, explore, publish_tick, take};
use crate::log::pages;
use crate::log::wake::Wake;
use crate::sync::Ordering;

/// Sleeps until `is_there` says so.
fn sleep_until(seen: &Outcomes, wake: &Wake, mut is_there: impl FnMut() -> bool) {
    loop {
        let mut kept = vec![];
        assert!(Wake::prepare([wake].into_iter(), &mut kept), "loom's barrier works");
        if is_there() {
            return seen.saw("awake");
        }
        seen.saw("sleeps");
        wake.sleep(kept[0], Duration::MAX);
    }
}

#[test]
fn a_message_wakes_both_sleepers() {
    explore(&["sleeps", "awake"], |seen| {
        let log = Log::new();
        let wake = Wake::new(log.pages.control.clone());
        let mut writer = log.writer(Some(wake.clone()));
        publish_tick(&mut writer).expect("nobody gates");
        let sleepers = [0, 1].map(|_| {
            let (seen, wake) = (seen.clone(), wake.clone());
            let mut reader = log.copied(0, 0);
            take(&mut reader).expect("it is there").expect("it is there");
            thread::spawn(move || {
                sleep_until(&seen, &wake, || {
                    take(&mut reader).expect("nothing is overrun").is_some()
                });
            })
        });
        publish_tick(&mut writer).expect("nobody gates");
        for sleeper in sleepers {
            sleeper.join().expect("the sleeper does not panic");
        }
    });
}

#[test]
fn closing_and_a_message_wake_a_sleeper_each() {
    explore(&["sleeps", "awake"], |seen| {
        let log = Log::new();
        let wake = Wake::new(log.pages.control.clone());
        let mut writer = log.writer(Some(wake.clone()));
        publish_tick(&mut writer).expect("nobody gates");
        let mut reader = log.copied(0, 0);
        take(&mut reader).expect("it is there").expect("it is there");
        let sleeper = thread::spawn({
            let (seen, wake, control) = (seen.clone(), wake.clone(), log.pages.control.clone());
            move || {
                let (mut message, mut closed) = (false, false);
                sleep_until(&seen, &wake, || {
                    message |= take(&mut reader).expect("nothing is overrun").is_some();
                    closed |= control.load(pages::control::CLOSED, Ordering::Acquire) == 1;
                    message && closed
                });
            }
        });
        let closing = thread::spawn({
            let (wake, control) = (wake.clone(), log.pages.control.clone());
            move || {
                control.store(pages::control::CLOSED, 1, Ordering::Release);
                wake.wake();
            }
        });
        publish_tick(&mut writer).expect("nobody gates");
        sleeper.join().expect("the sleeper does not panic");
        closing.join().expect("closing does not panic");
    });
}
