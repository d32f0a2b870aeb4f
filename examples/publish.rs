//! Publishes a trade a millisecond for a second: `cargo run --example publish`, with
//! `cargo run --example subscribe` beside it.

use std::error::Error;
use std::thread;
use std::time::Duration;

use tickcast::Bus;
use tickcast::runtime::clock;
use zerocopy::{Immutable, IntoBytes};

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Trade {
    price: i64,
    quantity: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let trades = Bus::open_or_create("example")?.topic("trades").open_or_create()?;
    let mut publisher = trades.publisher(0)?;
    for quantity in 1..=1000 {
        publisher.publish(clock::now_ns(), &Trade { price: 481_025, quantity })?;
        thread::sleep(Duration::from_millis(1));
    }
    println!("published up to offset {}", publisher.next_offset() - 1);
    Ok(())
}
