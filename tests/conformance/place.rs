//! Where the publisher and the subscriber of a scenario live. A new kind of place is added here,
//! and in `main`.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::actor::Actor;
use crate::common::child::{self, Child};

/// Where a scenario's ends live.
pub(crate) trait Place {
    /// Who publishes.
    fn publisher(&self) -> Box<dyn End>;
    /// Who subscribes.
    fn subscriber(&self) -> Box<dyn End>;
}

/// One end of a scenario: does what commands say.
pub(crate) trait End {
    /// Gives a command; where the place allows it, it is done while the other end works too.
    fn send(&mut self, command: &str);
    /// The answer to the command that was sent.
    fn answer(&mut self) -> String;
    /// Whether `send` returns before the command is done.
    fn is_parallel(&self) -> bool;

    fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }
}

/// Both ends in this thread.
pub(crate) struct SameThread;
/// An end each in a thread of its own.
pub(crate) struct Threads;
/// The publisher in a child, the subscriber here.
pub(crate) struct PublisherInChild;
/// The subscriber in a child, the publisher here.
pub(crate) struct SubscriberInChild;

impl Place for SameThread {
    fn publisher(&self) -> Box<dyn End> {
        Box::new(Here::default())
    }
    fn subscriber(&self) -> Box<dyn End> {
        Box::new(Here::default())
    }
}

impl Place for Threads {
    fn publisher(&self) -> Box<dyn End> {
        Box::new(InThread::spawn())
    }
    fn subscriber(&self) -> Box<dyn End> {
        Box::new(InThread::spawn())
    }
}

impl Place for PublisherInChild {
    fn publisher(&self) -> Box<dyn End> {
        Box::new(Child::spawn("actor"))
    }
    fn subscriber(&self) -> Box<dyn End> {
        Box::new(Here::default())
    }
}

impl Place for SubscriberInChild {
    fn publisher(&self) -> Box<dyn End> {
        Box::new(Here::default())
    }
    fn subscriber(&self) -> Box<dyn End> {
        Box::new(Child::spawn("actor"))
    }
}

#[derive(Default)]
struct Here {
    actor: Actor,
    answer: String,
}

impl End for Here {
    fn send(&mut self, command: &str) {
        self.answer = self.actor.act(command);
    }
    fn answer(&mut self) -> String {
        std::mem::take(&mut self.answer)
    }
    fn is_parallel(&self) -> bool {
        false
    }
}

struct InThread {
    commands: Sender<String>,
    answers: Receiver<String>,
}

impl InThread {
    fn spawn() -> InThread {
        let (commands, inbox) = mpsc::channel::<String>();
        let (outbox, answers) = mpsc::channel();
        thread::spawn(move || {
            let mut actor = Actor::default();
            for command in inbox {
                if outbox.send(actor.act(&command)).is_err() {
                    break;
                }
            }
        });
        InThread { commands, answers }
    }
}

impl End for InThread {
    fn send(&mut self, command: &str) {
        self.commands.send(command.to_owned()).expect("the thread lives");
    }
    fn answer(&mut self) -> String {
        self.answers.recv().expect("the thread lives")
    }
    fn is_parallel(&self) -> bool {
        true
    }
}

impl End for Child {
    fn send(&mut self, command: &str) {
        self.say(command);
    }
    fn answer(&mut self) -> String {
        self.hear()
    }
    fn is_parallel(&self) -> bool {
        true
    }
}

/// What a child of this program does.
pub(crate) fn act_as_child() {
    if child::begin().is_none() {
        return;
    }
    let mut actor = Actor::default();
    while let Some(command) = child::listen() {
        child::say(&actor.act(&command));
    }
}
