//! Replays the made-up day into a book of its own, which trusts nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::*;

fn day(seed: u64, messages: u64) -> Vec<Vec<u8>> {
    let mut flow = OrderFlow::new(seed, messages);
    let mut buffer = vec![0xFF; 3];
    let mut day = Vec::new();
    while flow.next_into(&mut buffer) {
        day.push(buffer.clone());
    }
    assert!(!flow.next_into(&mut buffer), "a day that has ended stays ended");
    assert!(buffer.is_empty());
    day
}

fn length_of(kind: u8) -> usize {
    match kind {
        b'S' => 12,
        b'R' => 39,
        b'H' => 25,
        b'A' => 36,
        b'F' => 40,
        b'E' => 31,
        b'C' => 36,
        b'X' => 23,
        b'D' => 19,
        b'U' => 35,
        b'P' => 44,
        other => panic!("type {} is not part of the day", char::from(other)),
    }
}

/// The number in `length` big-endian bytes at `at`.
fn number(message: &[u8], at: usize, length: usize) -> u64 {
    message[at..at + length].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[derive(Debug)]
struct Resting {
    locate: u64,
    side: u8,
    shares: u64,
    price: u64,
}

/// What the specification says a reader may rely on.
#[derive(Default)]
struct Checker {
    events: Vec<u8>,
    time_ns: u64,
    names: HashMap<u64, [u8; 8]>,
    trading: HashSet<u64>,
    orders: HashMap<u64, Resting>,
    /// Resting orders of a locate, a side and a price, first in the queue first.
    queues: BTreeMap<(u64, u8, u64), Vec<u64>>,
    used_refs: HashSet<u64>,
    matches: HashSet<u64>,
    counts: BTreeMap<char, u64>,
}

impl Checker {
    fn check(&mut self, message: &[u8]) {
        let kind = message[0];
        assert_eq!(message.len(), length_of(kind), "length of {}", char::from(kind));
        *self.counts.entry(char::from(kind)).or_default() += 1;
        let locate = number(message, 1, 2);
        let time_ns = number(message, 5, 6);
        assert!(time_ns >= self.time_ns, "time runs backwards at {message:?}");
        self.time_ns = time_ns;
        assert!(time_ns < 24 * 3600 * NS_PER_S);

        match kind {
            b'S' => {
                assert_eq!(locate, 0);
                self.events.push(message[11]);
            }
            b'R' => {
                assert_eq!(self.events, b"O", "the directory follows the start of messages");
                assert_ne!(locate, 0);
                let name = message[11..19].try_into().unwrap();
                assert!(!self.names.values().any(|known| *known == name), "a name comes twice");
                assert_eq!(self.names.insert(locate, name), None, "a locate comes twice");
                assert_eq!(number(message, 21, 4), 100);
            }
            b'H' => {
                self.check_name(locate, &message[11..19]);
                assert_eq!(message[19], b'T');
                self.trading.insert(locate);
            }
            _ => {
                assert_eq!(self.events, b"OSQ", "orders come in trading hours");
                assert!(self.trading.contains(&locate), "locate {locate} does not trade");
                self.check_order_message(kind, locate, message);
                self.check_uncrossed(locate);
            }
        }
    }

    fn check_order_message(&mut self, kind: u8, locate: u64, message: &[u8]) {
        let order_ref = number(message, 11, 8);
        match kind {
            b'A' | b'F' => {
                self.check_name(locate, &message[24..32]);
                let (side, shares) = (message[19], number(message, 20, 4));
                self.insert(locate, order_ref, side, shares, number(message, 32, 4));
                if kind == b'F' {
                    assert!(message[36..40].iter().all(u8::is_ascii_uppercase));
                }
            }
            b'E' | b'C' => {
                let price = self.resting(order_ref, locate).price;
                let side = self.orders[&order_ref].side;
                assert_eq!(self.queues[&(locate, side, price)][0], order_ref, "not first in queue");
                assert_eq!(self.best(locate, side), Some(price), "not the best price");
                self.check_match(number(message, 23, 8));
                if kind == b'C' {
                    assert!(matches!(message[31], b'Y' | b'N'));
                    let execution_price = number(message, 32, 4);
                    check_price(execution_price);
                    assert_ne!(execution_price, price, "that would have been an E");
                }
                self.reduce(order_ref, number(message, 19, 4));
            }
            b'X' => {
                let shares = self.resting(order_ref, locate).shares;
                let cancelled = number(message, 19, 4);
                assert!(cancelled < shares, "all of the shares go with D");
                self.reduce(order_ref, cancelled);
            }
            b'D' => {
                self.resting(order_ref, locate);
                self.remove(order_ref);
            }
            b'U' => {
                self.resting(order_ref, locate);
                let side = self.remove(order_ref).side;
                let (new_ref, shares) = (number(message, 19, 8), number(message, 27, 4));
                self.insert(locate, new_ref, side, shares, number(message, 31, 4));
            }
            b'P' => {
                assert_eq!((order_ref, message[19]), (0, b'B'));
                assert_ne!(number(message, 20, 4), 0);
                self.check_name(locate, &message[24..32]);
                check_price(number(message, 32, 4));
                self.check_match(number(message, 36, 8));
            }
            _ => unreachable!("length_of knows only these"),
        }
    }

    fn check_name(&self, locate: u64, name: &[u8]) {
        assert_eq!(self.names.get(&locate).map(|known| &known[..]), Some(name), "locate {locate}");
    }

    fn check_match(&mut self, match_number: u64) {
        assert!(self.matches.insert(match_number), "match number {match_number} comes twice");
    }

    fn check_uncrossed(&self, locate: u64) {
        if let (Some(bid), Some(ask)) = (self.best(locate, b'B'), self.best(locate, b'S')) {
            assert!(bid < ask, "locate {locate} is crossed: {bid} and {ask}");
        }
    }

    fn best(&self, locate: u64, side: u8) -> Option<u64> {
        let mut levels = self.queues.range((locate, side, 0)..=(locate, side, u64::MAX));
        let level = if side == b'B' { levels.next_back() } else { levels.next() };
        level.map(|((_, _, price), _)| *price)
    }

    fn resting(&self, order_ref: u64, locate: u64) -> &Resting {
        let order = self.orders.get(&order_ref);
        let order = order.unwrap_or_else(|| panic!("reference {order_ref} does not rest"));
        assert_eq!(order.locate, locate, "the locate is not the order's");
        order
    }

    fn insert(&mut self, locate: u64, order_ref: u64, side: u8, shares: u64, price: u64) {
        assert_ne!(order_ref, 0);
        assert!(self.used_refs.insert(order_ref), "reference {order_ref} comes twice");
        assert!(matches!(side, b'B' | b'S'));
        assert_ne!(shares, 0);
        check_price(price);
        self.queues.entry((locate, side, price)).or_default().push(order_ref);
        self.orders.insert(order_ref, Resting { locate, side, shares, price });
    }

    fn reduce(&mut self, order_ref: u64, shares: u64) {
        let order = self.orders.get_mut(&order_ref).unwrap();
        assert!(shares > 0 && shares <= order.shares, "{shares} of {order:?}");
        order.shares -= shares;
        if order.shares == 0 {
            self.remove(order_ref);
        }
    }

    fn remove(&mut self, order_ref: u64) -> Resting {
        let order = self.orders.remove(&order_ref).unwrap();
        let level = (order.locate, order.side, order.price);
        let queue = self.queues.get_mut(&level).unwrap();
        queue.retain(|queued| *queued != order_ref);
        if queue.is_empty() {
            self.queues.remove(&level);
        }
        order
    }
}

fn check_price(price: u64) {
    assert!(price > 0 && price <= 2_000_000_000, "price {price}");
    assert_eq!(price % 100, 0, "price {price} is not in whole cents");
}

#[test]
fn every_message_is_consistent_with_the_ones_before() {
    for (seed, messages) in [(0, 50_000), (1, 50_000), (u64::MAX, 200_000)] {
        let mut checker = Checker::default();
        let day = day(seed, messages);
        assert_eq!(day.len() as u64, messages);
        day.iter().for_each(|message| checker.check(message));
        assert_eq!(checker.events, b"OSQMEC");
        assert_eq!(checker.names.len(), checker.trading.len());
        for kind in "SRHAFECXDUP".chars() {
            assert!(checker.counts.contains_key(&kind), "no {kind} in {:?}", checker.counts);
        }
        let share = |kind| checker.counts[&kind] * 100 / messages;
        assert!(share('A') > share('U') && share('D') > share('U') && share('U') > share('E'));
        assert!(checker.orders.len() <= SYMBOLS.len() * ORDERS_MAX);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert_eq!(day(7, 5_000), day(7, 5_000));
    assert_ne!(day(7, 5_000), day(8, 5_000));
}

#[test]
fn random_numbers_are_those_of_splitmix64() {
    // First outputs of the reference implementation for the seed 1234567.
    let mut random = Random(1_234_567);
    assert_eq!(
        [random.next(), random.next(), random.next()],
        [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
    );
}

#[test]
fn the_shortest_day_has_no_trading() {
    let day = day(1, 0);
    let kinds: String = day.iter().map(|message| char::from(message[0])).collect();
    assert_eq!(kinds, "SRRRRRRHHHHHHSSSSS");
    let mut checker = Checker::default();
    day.iter().for_each(|message| checker.check(message));
    assert_eq!(checker.events, b"OSQMEC");
}

#[test]
fn every_length_of_a_day_is_kept() {
    for messages in MESSAGES_MIN..MESSAGES_MIN + 40 {
        assert_eq!(day(3, messages).len() as u64, messages);
    }
}

#[test]
#[should_panic(expected = "does not rest")]
fn the_checker_notices_an_unknown_reference() {
    let mut checker = Checker::default();
    let mut day = day(5, 2_000);
    let at = day.iter().position(|message| message[0] == b'D').unwrap();
    day[at][18] ^= 0x80;
    day[at][11] ^= 0x80;
    day.iter().for_each(|message| checker.check(message));
}
