//! A made-up trading day as ITCH 5.0 messages: change here what the demonstration's market does.
//!
//! The same seed gives the same bytes. Every message is consistent with the ones before it: orders
//! that are executed, cancelled, deleted or replaced rest in the book, with at least the shares
//! that are taken from them. Symbols and firms are fictional.

mod book;
mod random;
#[cfg(test)]
mod tests;

use book::{Book, Order, Side};
use random::Random;

/// Name and opening price in ticks; the stock locate is the position, from 1.
const SYMBOLS: [(&[u8; 8], u32); 6] = [
    (b"TICKA   ", 2_512),
    (b"TICKB   ", 18_940),
    (b"TICKC   ", 705),
    (b"TICKD   ", 43_128),
    (b"TICKE   ", 9_999),
    (b"TICKF   ", 31_007),
];
const FIRM: &[u8; 4] = b"TICK";

const NS_PER_S: u64 = 1_000_000_000;
const MESSAGES_START_NS: u64 = 11_072 * NS_PER_S;
const SYSTEM_START_NS: u64 = 4 * 3600 * NS_PER_S;
const MARKET_OPEN_NS: u64 = (9 * 3600 + 30 * 60) * NS_PER_S;
const MARKET_CLOSE_NS: u64 = 16 * 3600 * NS_PER_S;
const SYSTEM_END_NS: u64 = 20 * 3600 * NS_PER_S;
const MESSAGES_END_NS: u64 = SYSTEM_END_NS + 300 * NS_PER_S;

/// Start of messages, directory and status of each symbol, start of the system and of the market.
const OPENING_MESSAGES: u64 = 1 + 2 * SYMBOLS.len() as u64 + 2;
/// End of the market, of the system and of messages.
const CLOSING_MESSAGES: u64 = 3;
/// The shortest day: one that nobody trades on.
const MESSAGES_MIN: u64 = OPENING_MESSAGES + CLOSING_MESSAGES;

/// Prices on the wire have four decimals; a tick is a cent.
const PRICE_PER_TICK: u32 = 100;
const LOT_SHARES: u32 = 100;
/// Bounds of the price that the book moves around, and how far from it orders come at most.
const MID_TICKS_MIN: u32 = 100;
const MID_TICKS_MAX: u32 = 100_000;
const DEPTH_TICKS: u64 = 12;
// Bids come down to the lowest mid less the depth, executions one tick beside an order.
const _: () = assert!(MID_TICKS_MIN as u64 > DEPTH_TICKS + 1);
/// Bounds of the resting orders of one symbol: fewer are added to, more are deleted from. Few
/// enough to find the best by looking at all.
const ORDERS_MIN: usize = 12;
const ORDERS_MAX: usize = 96;

/// Writes the day, message by message.
pub(crate) struct OrderFlow {
    random: Random,
    messages: u64,
    sent: u64,
    time_ns: u64,
    last_order_ref: u64,
    last_match_number: u64,
    books: Vec<Book>,
}

/// What happens next in a book.
#[derive(Clone, Copy)]
enum Action {
    Add,
    AddAttributed,
    Execute,
    ExecuteAtPrice,
    Cancel,
    Delete,
    Replace,
    HiddenTrade,
}

/// How often each happens among 1,000, about as on a real feed.
const MIX: [(Action, u64); 8] = [
    (Action::Add, 430),
    (Action::AddAttributed, 20),
    (Action::Delete, 365),
    (Action::Replace, 100),
    (Action::Execute, 45),
    (Action::Cancel, 25),
    (Action::HiddenTrade, 10),
    (Action::ExecuteAtPrice, 5),
];

impl OrderFlow {
    /// A day of `messages` messages, opening and closing included; a day has at least those.
    pub(crate) fn new(seed: u64, messages: u64) -> Self {
        let books = (1..).zip(SYMBOLS).map(|(locate, (name, mid_ticks))| Book {
            locate,
            name,
            mid_ticks,
            orders: Vec::with_capacity(ORDERS_MAX),
        });
        Self {
            random: Random(seed),
            messages: messages.max(MESSAGES_MIN),
            sent: 0,
            time_ns: MESSAGES_START_NS,
            last_order_ref: 0,
            last_match_number: 0,
            books: books.collect(),
        }
    }

    /// Puts the next message into `buffer`, in place of what it held; `false` after the last one.
    pub(crate) fn next_into(&mut self, buffer: &mut Vec<u8>) -> bool {
        const STATUS_AT: u64 = 1 + SYMBOLS.len() as u64;
        const SYSTEM_START_AT: u64 = STATUS_AT + SYMBOLS.len() as u64;
        const MARKET_OPEN_AT: u64 = OPENING_MESSAGES - 1;
        buffer.clear();
        let number = self.sent;
        let left = self.messages - number;
        match (number, left) {
            (_, 0) => return false,
            (0, _) => self.system_event(b'O', MESSAGES_START_NS, buffer),
            (1..STATUS_AT, _) => self.directory((number - 1) as usize, buffer),
            (STATUS_AT..SYSTEM_START_AT, _) => {
                self.trading_status((number - STATUS_AT) as usize, buffer);
            }
            (SYSTEM_START_AT, _) => self.system_event(b'S', SYSTEM_START_NS, buffer),
            (MARKET_OPEN_AT, _) => self.system_event(b'Q', MARKET_OPEN_NS, buffer),
            (_, 3) => self.system_event(b'M', MARKET_CLOSE_NS, buffer),
            (_, 2) => self.system_event(b'E', SYSTEM_END_NS, buffer),
            (_, 1) => self.system_event(b'C', MESSAGES_END_NS, buffer),
            _ => self.trade(left - CLOSING_MESSAGES, buffer),
        }
        self.sent += 1;
        true
    }

    fn system_event(&mut self, code: u8, time_ns: u64, buffer: &mut Vec<u8>) {
        self.time_ns = time_ns;
        put_header(buffer, b'S', 0, time_ns);
        buffer.push(code);
    }

    fn directory(&mut self, index: usize, buffer: &mut Vec<u8>) {
        self.time_ns += 30_000 + self.random.below(20_000);
        let book = &self.books[index];
        put_header(buffer, b'R', book.locate, self.time_ns);
        buffer.extend_from_slice(book.name);
        // Global Select, normal, round lots of 100, odd lots too.
        buffer.extend_from_slice(b"QN");
        buffer.extend_from_slice(&LOT_SHARES.to_be_bytes());
        // Common stock, a test symbol, no short sale limit, no IPO, price band tier 1, no fund.
        buffer.extend_from_slice(b"NCZ TNN1N");
        buffer.extend_from_slice(&0u32.to_be_bytes());
        buffer.push(b'N');
    }

    fn trading_status(&mut self, index: usize, buffer: &mut Vec<u8>) {
        self.time_ns += 30_000 + self.random.below(20_000);
        let book = &self.books[index];
        put_header(buffer, b'H', book.locate, self.time_ns);
        buffer.extend_from_slice(book.name);
        // Trading, reserved, no reason.
        buffer.extend_from_slice(b"T     ");
    }

    /// One message of the trading hours, of which `left` are to come before the close.
    fn trade(&mut self, left: u64, buffer: &mut Vec<u8>) {
        // Even if every draw is the highest, the day does not end before the last message.
        let mean_gap_ns = (MARKET_CLOSE_NS - self.time_ns) / (left + 1);
        self.time_ns += self.random.below(2 * mean_gap_ns + 1);

        let index = self.random.below(self.books.len() as u64) as usize;
        self.books[index].move_mid(&mut self.random);
        let action = self.action(index);
        let mut message = Message {
            random: &mut self.random,
            book: &mut self.books[index],
            time_ns: self.time_ns,
            last_order_ref: &mut self.last_order_ref,
            last_match_number: &mut self.last_match_number,
            buffer,
        };
        match action {
            Action::Add => message.add(b'A'),
            Action::AddAttributed => {
                message.add(b'F');
                message.buffer.extend_from_slice(FIRM);
            }
            Action::Execute => message.execute(b'E'),
            Action::ExecuteAtPrice => message.execute(b'C'),
            Action::Cancel => message.cancel(),
            Action::Delete => message.delete(),
            Action::Replace => message.replace(),
            Action::HiddenTrade => message.hidden_trade(),
        }
    }

    fn action(&mut self, index: usize) -> Action {
        let mut draw = self.random.below(MIX.iter().map(|(_, weight)| weight).sum());
        let drawn = MIX.iter().find(|(_, weight)| {
            let hit = draw < *weight;
            draw = draw.saturating_sub(*weight);
            hit
        });
        let (action, _) = drawn.expect("a draw is less than the sum of the weights");
        match self.books[index].orders.len() {
            ..ORDERS_MIN => Action::Add,
            ORDERS_MAX.. => Action::Delete,
            _ => *action,
        }
    }
}

/// What it takes to write one message about a book.
struct Message<'a> {
    random: &'a mut Random,
    book: &'a mut Book,
    time_ns: u64,
    last_order_ref: &'a mut u64,
    last_match_number: &'a mut u64,
    buffer: &'a mut Vec<u8>,
}

impl Message<'_> {
    /// `A`, and `F` up to its attribution.
    fn add(&mut self, kind: u8) {
        let side = if self.random.below(2) == 0 { Side::Buy } else { Side::Sell };
        let order = self.new_order(side);
        self.header(kind);
        self.put_u64(order.order_ref);
        self.buffer.push(order.side.letter());
        self.put_u32(order.shares);
        self.buffer.extend_from_slice(self.book.name);
        self.put_u32(order.price_ticks * PRICE_PER_TICK);
        self.book.orders.push(order);
    }

    /// `E` and `C`: someone trades with the first order in the queue of the best price.
    fn execute(&mut self, kind: u8) {
        let side = self.book.side_to_execute(self.random);
        let Some(at) = self.book.best(side) else {
            return self.add(b'A');
        };
        let order = self.book.orders[at];
        let whole = self.random.below(2) == 0;
        let shares = if whole { order.shares } else { self.some_lots(order.shares) };
        self.header(kind);
        self.put_u64(order.order_ref);
        self.put_u32(shares);
        self.put_match_number();
        if kind == b'C' {
            let printable = if self.random.below(8) == 0 { b'N' } else { b'Y' };
            self.buffer.push(printable);
            // A tick better than shown, for the one who came to trade.
            let price_ticks = match side {
                Side::Buy => order.price_ticks + 1,
                Side::Sell => order.price_ticks - 1,
            };
            self.put_u32(price_ticks * PRICE_PER_TICK);
        }
        self.book.take(at, shares);
    }

    /// `X`: a part of an order goes, or all of it with `D` if it cannot be parted.
    fn cancel(&mut self) {
        let at = self.any_order();
        let order = self.book.orders[at];
        if order.shares <= LOT_SHARES {
            return self.delete();
        }
        let shares = self.some_lots(order.shares - LOT_SHARES);
        self.header(b'X');
        self.put_u64(order.order_ref);
        self.put_u32(shares);
        self.book.take(at, shares);
    }

    /// `D`
    fn delete(&mut self) {
        let at = self.any_order();
        let order = self.book.orders.swap_remove(at);
        self.header(b'D');
        self.put_u64(order.order_ref);
    }

    /// `U`
    fn replace(&mut self) {
        let at = self.any_order();
        let old = self.book.orders[at];
        let new = self.new_order(old.side);
        self.header(b'U');
        self.put_u64(old.order_ref);
        self.put_u64(new.order_ref);
        self.put_u32(new.shares);
        self.put_u32(new.price_ticks * PRICE_PER_TICK);
        self.book.orders[at] = new;
    }

    /// `P`: a trade of orders that the feed does not show, so without a reference and always "buy".
    fn hidden_trade(&mut self) {
        let shares = self.some_lots(10 * LOT_SHARES);
        self.header(b'P');
        self.put_u64(0);
        self.buffer.push(Side::Buy.letter());
        self.put_u32(shares);
        self.buffer.extend_from_slice(self.book.name);
        self.put_u32(self.book.mid_ticks * PRICE_PER_TICK);
        self.put_match_number();
    }

    /// An order near the mid price that does not cross the book.
    fn new_order(&mut self, side: Side) -> Order {
        // The lower of two draws: more orders near the mid than far from it.
        let draws = [self.random.below(DEPTH_TICKS), self.random.below(DEPTH_TICKS)];
        let distance_ticks = 1 + draws[0].min(draws[1]) as u32;
        let mid_ticks = self.book.mid_ticks;
        let opposite = self.book.best(side.opposite()).map(|at| self.book.orders[at].price_ticks);
        let price_ticks = match (side, opposite) {
            (Side::Buy, Some(ask)) => (mid_ticks - distance_ticks).min(ask - 1),
            (Side::Buy, None) => mid_ticks - distance_ticks,
            (Side::Sell, Some(bid)) => (mid_ticks + distance_ticks).max(bid + 1),
            (Side::Sell, None) => mid_ticks + distance_ticks,
        };
        *self.last_order_ref += 1;
        let shares = self.some_lots(10 * LOT_SHARES);
        Order { order_ref: *self.last_order_ref, side, shares, price_ticks }
    }

    /// One or more lots, at most `shares`, or `shares` itself if it is less than two lots.
    fn some_lots(&mut self, shares: u32) -> u32 {
        let lots = shares / LOT_SHARES;
        if lots < 2 { shares } else { LOT_SHARES * (1 + self.random.below(lots.into()) as u32) }
    }

    /// There are some: a book with fewer than `ORDERS_MIN` is only added to.
    fn any_order(&mut self) -> usize {
        self.random.below(self.book.orders.len() as u64) as usize
    }

    fn header(&mut self, kind: u8) {
        put_header(self.buffer, kind, self.book.locate, self.time_ns);
    }

    fn put_match_number(&mut self) {
        *self.last_match_number += 1;
        self.put_u64(*self.last_match_number);
    }

    fn put_u32(&mut self, value: u32) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }
}

/// Type, locate, tracking number and the low 48 bits of the time.
fn put_header(buffer: &mut Vec<u8>, kind: u8, locate: u16, time_ns: u64) {
    buffer.push(kind);
    buffer.extend_from_slice(&locate.to_be_bytes());
    buffer.extend_from_slice(&0u16.to_be_bytes());
    buffer.extend_from_slice(&time_ns.to_be_bytes()[2..]);
}
