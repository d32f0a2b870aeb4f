//! The thread-per-core runtime: a [`Core`] is one thread that polls its [`Agent`]s in turn.
//!
//! Between cores there are only logs: an agent never waits for another one. It does what can be
//! done now, says how much that was, and is polled again. What the thread does when nothing was to
//! be done is its [`IdleStrategy`].
#![forbid(unsafe_code)]

mod agent;
pub mod clock;
mod core;
mod duty_cycle;
mod idle;

pub use self::agent::Agent;
pub(crate) use self::agent::inside_agent;
pub use self::core::{Core, CoreBuilder, CoreHandle, StartError, StopError};
pub use self::duty_cycle::DutyCycle;
pub use self::idle::{Idle, IdleStrategy, SLEEP_NS_MAX, Step};
