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

    /// What is to be told because a block was met that a publisher of `epoch` entered; of a death
    /// and a return the one that comes first.
    pub(crate) fn met(&mut self, epoch: u64) -> Option<NoticeKind> {
        match self.told {
            Told::Never => {
                if epoch > 0 {
                    self.told = Told::Alive { epoch };
                }
                None
            }
            Told::Alive { epoch: told } => (epoch > told).then_some(NoticeKind::PublisherGone),
            Told::Gone { epoch: told } => {
                (epoch > told).then_some(NoticeKind::PublisherBack { epoch })
            }
        }
    }

    /// What is to be told when all that was published has been read; of a death and a return the
    /// one that comes first. One system call.
    pub(crate) fn change(&mut self) -> Option<NoticeKind> {
        let is_alive = self.is_alive();
        let now = self.page.load(pages::publisher::EPOCH, Ordering::Acquire);
        // A block's header may have claimed any epoch: what the lock says counts more.
        match self.told {
            Told::Alive { epoch } if now <= epoch && !is_alive => Some(NoticeKind::PublisherGone),
            Told::Gone { epoch } if now != epoch && is_alive => {
                Some(NoticeKind::PublisherBack { epoch: now })
            }
            _ => self.met(now),
        }
    }

    /// It is told.
    pub(crate) fn told(&mut self, kind: NoticeKind) {
        match (self.told, kind) {
            (Told::Alive { epoch }, NoticeKind::PublisherGone) => self.told = Told::Gone { epoch },
            (_, NoticeKind::PublisherBack { epoch }) => self.told = Told::Alive { epoch },
            _ => {}
        }
    }
}
