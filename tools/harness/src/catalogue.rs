//! Which transports there are to be measured, by name.
use anyhow::{Context, Result};

use crate::ends::{self, Far, NearHalf};
use crate::message::Payload;
use crate::transport::{Place, Run, Transport};
use crate::with_words;

/// A transport of whatever type.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name in tables and on the command line.
    pub name: &'static str,
    /// How it is used here.
    pub how: &'static str,
    /// Where its ends can be.
    pub places: &'static [Place],
    /// Whether it can be measured with several messages under way: in streams, in batches and by a
    /// schedule.
    pub streams: bool,
    near: MakeNear,
    far: MakeFar,
    wake: Signal,
    rest: Signal,
}

type MakeNear = fn(&Run, &str, Payload) -> Result<NearHalf>;
type MakeFar = fn(&Run, &str, Payload) -> Result<Box<dyn Far>>;
type Signal = fn(&Run) -> Result<()>;

impl Entry {
    /// The entry of a transport.
    pub const fn of<T: Transport>() -> Self {
        Self {
            name: T::NAME,
            how: T::HOW,
            places: T::PLACES,
            streams: T::STREAMS,
            near: |run, name, payload| with_words!(payload, W => ends::near::<T, W>(run, name, payload)),
            far: |run, name, payload| with_words!(payload, W => ends::far::<T, W>(run, name, payload)),
            wake: T::wake,
            rest: T::rest,
        }
    }

    pub(crate) fn near(&self, run: &Run, name: &str, payload: Payload) -> Result<NearHalf> {
        (self.near)(run, name, payload)
    }

    pub(crate) fn far(&self, run: &Run, name: &str, payload: Payload) -> Result<Box<dyn Far>> {
        (self.far)(run, name, payload)
    }

    /// To be called before each block: see [`Transport::wake`].
    ///
    /// # Errors
    /// When its helper is gone.
    pub fn wake(&self, run: &Run) -> Result<()> {
        (self.wake)(run)
    }

    /// To be called after each block: see [`Transport::rest`].
    ///
    /// # Errors
    /// When its helper is gone.
    pub fn rest(&self, run: &Run) -> Result<()> {
        (self.rest)(run)
    }
}

/// The entry of this name.
///
/// # Errors
/// When there is none; it says which there are.
pub fn find<'a>(catalogue: &'a [Entry], name: &str) -> Result<&'a Entry> {
    catalogue.iter().find(|entry| entry.name == name).with_context(|| {
        let names: Vec<_> = catalogue.iter().map(|entry| entry.name).collect();
        format!("there is no {name} here; there are {}", names.join(", "))
    })
}
