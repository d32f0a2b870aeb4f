//! A feed handler and a strategy, each an agent on a core of its own: `cargo run --release
//! --example thread_per_core`.

use std::error::Error;
use std::thread;
use std::time::Duration;

use tickcast::runtime::{Agent, Core, IdleStrategy, clock};
use tickcast::{Bus, Event, PublishError, Publisher, Subscriber};

struct Feed {
    publisher: Publisher,
    next: u64,
}

impl Agent for Feed {
    fn name(&self) -> &str {
        "feed"
    }

    fn poll(&mut self) -> usize {
        // An agent never waits: when the ring is full it comes back.
        match self.publisher.try_publish(clock::now_ns(), &[self.next; 6]) {
            Ok(_) => {
                self.next += 1;
                1
            }
            Err(PublishError::Full(_)) => 0,
            Err(error) => panic!("{error}"),
        }
    }
}

struct Strategy {
    subscriber: Subscriber,
}

impl Agent for Strategy {
    fn name(&self) -> &str {
        "strategy"
    }

    fn poll(&mut self) -> usize {
        self.subscriber.poll(256, |event| {
            if let Event::Notice(notice) = event {
                eprintln!("{notice}");
            }
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let ticks = Bus::open_or_create("example")?.topic("ticks").open_or_create()?;
    let strategy = Strategy { subscriber: ticks.subscribe().reliable().open()? };
    let feed = Feed { publisher: ticks.publisher(0)?, next: 0 };
    let start =
        |name, agent| Core::builder(name).idle(IdleStrategy::back_off()).agent(agent).start();
    let strategy = start("strategy", Box::new(strategy) as Box<dyn Agent>)?;
    let feed = start("feed", Box::new(feed))?;
    thread::sleep(Duration::from_secs(1));
    for core in [feed, strategy] {
        for duty in core.duty_cycles() {
            println!("{}: {} polls, {} with work", duty.agent, duty.polls, duty.busy_polls);
        }
        core.stop()?;
    }
    Ok(())
}
