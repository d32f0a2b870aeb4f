//! The command as its users run it: each test has a directory of buses of its own.

mod ending;
mod eviction;
mod gap;
mod help;
mod inspecting;
mod loss;
mod overview;
mod place;
mod recording;
mod replaying;
mod round_trip;
mod usage;
