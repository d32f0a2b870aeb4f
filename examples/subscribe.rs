//! Reads what `publish` publishes until that is gone: `cargo run --example subscribe`.

use std::error::Error;

use tickcast::runtime::{IdleStrategy, clock};
use tickcast::{Bus, Event, NoticeKind, StartAt};
use zerocopy::{FromBytes, Immutable, KnownLayout};

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Trade {
    price: i64,
    quantity: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let trades = Bus::open_or_create("example")?.topic("trades").open_or_create()?;
    let mut subscriber = trades
        .subscribe()
        .reliable()
        .start_at(StartAt::Earliest)
        .idle(IdleStrategy::back_off())
        .open()?;
    while let Some(event) = subscriber.receive(None)? {
        match event {
            Event::Message(message) => {
                let trade: &Trade = message.read()?;
                let age_ns = clock::now_ns().saturating_sub(message.timestamp_ns);
                println!(
                    "{}: {} at {}, {age_ns} ns old",
                    message.offset, trade.quantity, trade.price
                );
            }
            Event::Notice(notice) => {
                println!("{notice}");
                if notice.kind == NoticeKind::PublisherGone || notice.kind.is_final() {
                    break;
                }
            }
        }
    }
    Ok(())
}
