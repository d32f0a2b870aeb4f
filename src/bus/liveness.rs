//! Whether a partition has a living publisher, as seen by a subscriber.

use std::fs::File;

use crate::bus::message::NoticeKind;
use crate::log::memory::Memory;
use crate::log::pages;
use crate::shm::lock;
use crate::sync::Ordering;

/// What a subscriber was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// There has been no publisher yet.
    Never,
    Alive {
        epoch: u64,
    },
    Gone {
        epoch: u64,
    },
}

/// The publisher's lock and epoch.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// For looking at the lock.
    file: File,
    page: Memory,
    told: Told,
}

impl Liveness {
    pub(crate) fn new(file: File, page: Memory) -> Liveness {
        let told = match page.load(pages::publisher::EPOCH, Ordering::Acquire) {
            0 => Told::Never,
            epoch => Told::Alive { epoch },
        };
        Liveness { file, page, told }
    }

    /// Whether there is a publisher now. One system call.
    pub(crate) fn is_alive(&self) -> bool {
        match lock::is_held(&self.file, 0) {
            Ok(is_held) => is_held,
            Err(error) => {
                log::warn!("cannot see the publisher's lock: {error}; taking it for gone");
                false
            }
        }
    }

    /// What has changed since the last time; of a death and a return only one at a time. One system
    /// call. To be called when all that was published has been read.
    pub(crate) fn change(&mut self) -> Option<NoticeKind> {
        let is_alive = self.is_alive();
        let now = self.page.load(pages::publisher::EPOCH, Ordering::Acquire);
        let (told, notice) = match self.told {
            Told::Never if now > 0 => (Told::Alive { epoch: now }, None),
            Told::Alive { epoch } if epoch != now || !is_alive => {
                (Told::Gone { epoch }, Some(NoticeKind::PublisherGone))
            }
            Told::Gone { epoch } if epoch != now => {
                (Told::Alive { epoch: now }, Some(NoticeKind::PublisherBack { epoch: now }))
            }
            told => (told, None),
        };
        self.told = told;
        notice
    }

    /// Takes back the last change, a death: there is more to be read first.
    pub(crate) fn take_back(&mut self) {
        if let Told::Gone { epoch } = self.told {
            self.told = Told::Alive { epoch };
        }
    }
}
