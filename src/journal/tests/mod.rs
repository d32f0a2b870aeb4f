//! A publisher, a journal and a disk in one thread, step by step, with everything that can go wrong
//! between the steps.

mod blocks;
mod kill;
mod media;
mod overrun;
mod power_cut;
mod refusals;
mod second_cut;
mod stage;
mod world;
