//! What a publisher does about a reliable subscriber that is in its way: wait, find it dead, or
//! evict it.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::bus::descriptor::SlowSubscriber;
use crate::bus::publish_error::Full;
use crate::log::gate::{Blocked, Gate};
use crate::log::memory::Memory;
use crate::log::pages::{self, JOURNAL_SLOT};
use crate::shm::lock;
use crate::sync::Ordering;

/// How long a subscriber may be in the way before the publisher looks whether it lives, and how
/// often it looks after that. Each look is a system call.
const LIFE_CHECK: Duration = Duration::from_millis(1);

/// What stands in a publisher's way, and for how long.
#[derive(Debug)]
pub(crate) struct Hindrance {
    control: Memory,
    cursors: Memory,
    /// For looking at the locks of slots.
    cursors_file: File,
    slow: SlowSubscriber,
    found: Option<Found>,
}

/// Who is in the way, and since when with its cursor where it is.
#[derive(Debug, Clone, Copy)]
struct Found {
    blocked: Blocked,
    since: Instant,
    /// When its life was looked at last.
    looked: Instant,
    /// Whether it was logged that its life cannot be seen.
    is_unseen: bool,
}

impl Hindrance {
    pub(crate) fn new(
        control: Memory,
        cursors: Memory,
        cursors_file: File,
        slow: SlowSubscriber,
    ) -> Hindrance {
        Hindrance { control, cursors, cursors_file, slow, found: None }
    }

    /// Whether the bus was removed.
    pub(crate) fn is_closed(&self) -> bool {
        self.control.load(pages::control::CLOSED, Ordering::Acquire) != 0
    }

    /// Whether the subscriber is out of the way: dead, or evicted as the policy says. Otherwise it
    /// is to be waited for.
    pub(crate) fn lift(&mut self, gate: &mut Gate, blocked: Blocked) -> bool {
        let now = Instant::now();
        let mut found = self.found.filter(|found| found.blocked == blocked).unwrap_or_else(|| {
            gate.count_full_wait();
            Found { blocked, since: now, looked: now, is_unseen: false }
        });
        if blocked.slot == JOURNAL_SLOT {
            return self.lift_journal(gate, found, now);
        }
        if now - found.looked >= LIFE_CHECK {
            found.looked = now;
            match lock::is_held(&self.cursors_file, blocked.slot as u64) {
                Ok(true) => {}
                Ok(false) => {
                    log::info!("slot {}: its subscriber died, going on without it", blocked.slot);
                    gate.reclaim(blocked);
                    return true;
                }
                Err(_) if found.is_unseen => {}
                Err(error) => {
                    log::warn!("slot {}: cannot see its lock: {error}", blocked.slot);
                    found.is_unseen = true;
                }
            }
        }
        if let SlowSubscriber::EvictAfter(after) = self.slow
            && now - found.since >= after
        {
            log::warn!("slot {}: evicted after {after:?}", blocked.slot);
            gate.evict(blocked);
            return true;
        }
        self.found = Some(found);
        false
    }

    /// The journal is never found dead: what it has asked the disk to do goes on reading the ring
    /// behind its death. A successor takes its cursor over, or the publisher goes on without one
    /// after the time that the journal has set.
    fn lift_journal(&mut self, gate: &mut Gate, found: Found, now: Instant) -> bool {
        let page = &gate.pages().journal;
        let after_ns = page.load(pages::journal::GIVE_UP_AFTER_NS, Ordering::Relaxed);
        // 1 is at once, and 0 never.
        let after = after_ns.checked_sub(1).map(Duration::from_nanos);
        if after.is_some_and(|after| now - found.since >= after) {
            let offset = page.load(pages::cursor::OFFSET, Ordering::Relaxed);
            log::error!(
                "going on without the journal, which is behind since message {offset}: what comes \
                 from there on may never be on disk"
            );
            gate.evict(found.blocked);
            return true;
        }
        self.found = Some(found);
        false
    }

    /// Who that is, for the user.
    pub(crate) fn describe(&self, gate: &Gate, blocked: Blocked) -> Full {
        let (page, memory) = match blocked.slot {
            JOURNAL_SLOT => (0, &gate.pages().journal),
            slot => (slot as u64 * pages::PAGE_BYTES / 8, &self.cursors),
        };
        let field = |field| memory.load(page + field, Ordering::Relaxed);
        Full {
            slot: (blocked.slot != JOURNAL_SLOT).then_some(blocked.slot as u32),
            pid: field(pages::cursor::PID),
            offset: field(pages::cursor::OFFSET),
        }
    }
}
