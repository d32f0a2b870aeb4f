//! The resting orders of one made-up symbol: change here which order trades first.

use super::random::Random;
use super::{MID_TICKS_MAX, MID_TICKS_MIN};

/// The resting orders of one symbol.
pub(super) struct Book {
    pub(super) locate: u16,
    pub(super) name: &'static [u8; 8],
    pub(super) mid_ticks: u32,
    pub(super) orders: Vec<Order>,
}

#[derive(Clone, Copy)]
pub(super) struct Order {
    pub(super) order_ref: u64,
    pub(super) side: Side,
    pub(super) shares: u32,
    pub(super) price_ticks: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Buy,
    Sell,
}

impl Book {
    pub(super) fn move_mid(&mut self, random: &mut Random) {
        match random.below(16) {
            0 => self.mid_ticks = (self.mid_ticks + 1).min(MID_TICKS_MAX),
            1 => self.mid_ticks = (self.mid_ticks - 1).max(MID_TICKS_MIN),
            _ => (),
        }
    }

    /// The side that the mid price has run over, so that trades move the book along with it.
    pub(super) fn side_to_execute(&self, random: &mut Random) -> Side {
        let best_ticks = |side| self.best(side).map(|at| self.orders[at].price_ticks);
        if best_ticks(Side::Buy).is_some_and(|bid| bid >= self.mid_ticks) {
            Side::Buy
        } else if best_ticks(Side::Sell).is_some_and(|ask| ask <= self.mid_ticks) {
            Side::Sell
        } else if random.below(2) == 0 {
            Side::Buy
        } else {
            Side::Sell
        }
    }

    /// The order that trades first: the oldest at the best price. References tell the age, as a
    /// replaced order goes to the end of its queue and gets a new one.
    pub(super) fn best(&self, side: Side) -> Option<usize> {
        let resting = self.orders.iter().enumerate().filter(|(_, order)| order.side == side);
        let first = resting.min_by_key(|(_, order)| {
            let rank = match side {
                Side::Buy => u32::MAX - order.price_ticks,
                Side::Sell => order.price_ticks,
            };
            (rank, order.order_ref)
        });
        first.map(|(at, _)| at)
    }

    pub(super) fn take(&mut self, at: usize, shares: u32) {
        self.orders[at].shares -= shares;
        if self.orders[at].shares == 0 {
            self.orders.swap_remove(at);
        }
    }
}

impl Side {
    pub(super) fn letter(self) -> u8 {
        match self {
            Self::Buy => b'B',
            Self::Sell => b'S',
        }
    }

    pub(super) fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}
