//! Adds up trades, each exactly once, however often it is killed: the result and the offset to go
//! on with are one file, which is replaced as a whole. `cargo run --example exactly_once`, with
//! `cargo run --example publish` beside it.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use tickcast::{Bus, Event, NoticeKind, StartAt, Topic};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Trade {
    price: i64,
    quantity: u64,
}

/// The result, and how far it has come.
#[derive(Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Total {
    next_offset: u64,
    quantity: u64,
}

impl Total {
    fn load(path: &Path) -> io::Result<Total> {
        match fs::read(path) {
            Ok(bytes) => Total::read_from_bytes(&bytes)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "this is no total")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Total::default()),
            Err(error) => Err(error),
        }
    }

    /// A kill leaves the old file or the new one, and so does a power cut.
    fn store(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(self.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Adds up `trades` until their publisher is gone. Where they are journaled, and what counts must
/// outlive a power cut, subscribe with `durable()`: else the total may know trades that the log has
/// lost.
pub(crate) fn add_up(trades: &Topic, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut total = Total::load(path)?;
    let start_at = StartAt::Offset(total.next_offset);
    let mut subscriber = trades.subscribe().reliable().start_at(start_at).open()?;
    while let Some(event) = subscriber.receive(None)? {
        match event {
            Event::Message(message) => {
                total.quantity += message.read::<Trade>()?.quantity;
                total.next_offset = message.offset + 1;
                total.store(path)?;
            }
            Event::Notice(notice) if notice.kind == NoticeKind::PublisherGone => break,
            // What is lost cannot be made up for.
            Event::Notice(notice) => return Err(notice.to_string().into()),
        }
    }
    println!("{total:?}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let trades = Bus::open_or_create("example")?.topic("trades").open_or_create()?;
    add_up(&trades, Path::new("/dev/shm/tickcast-total"))
}
