//! Other systems as contenders in tickcast's latency harness: the same loops, clock, cores and
//! verdicts for all of them, each used in the fastest way that its authors document.
//!
//! A peer is a file here with a type that implements [`Transport`]. To add one:
//!
//! 1. Write the file. Its header says what is used, why that is the fastest documented way, where
//!    that is documented, and what was tried and found slower. Ends that cannot leave their process
//!    go through [`Link::leave`] and [`Link::take`]; what both processes need is made by
//!    [`Transport::create`] in the directory of the run. Nothing may be lost: where the peer would
//!    drop a message, the adapter says that there is no room, or declares that it carries no
//!    [`STREAMS`]. Nothing may stay behind.
//! 2. Add it to [`CATALOGUE`] and to the test `ends`.
//! 3. If not every machine can build it, put it behind a feature that is off by default, say in
//!    [`LEFT_OUT`] how to get it, and have the script `run` make ready what it needs.
//!
//! [`Transport`]: tickcast_harness::transport::Transport
//! [`STREAMS`]: tickcast_harness::transport::Transport::STREAMS
//! [`Transport::create`]: tickcast_harness::transport::Transport::create
//! [`Link::leave`]: tickcast_harness::transport::Link::leave
//! [`Link::take`]: tickcast_harness::transport::Link::take
#![forbid(unsafe_code)]

#[cfg(feature = "aeron")]
pub mod aeron;
pub mod crossbeam_channel;
mod datagrams;
pub mod disruptor;
#[cfg(feature = "iceoryx2")]
pub mod iceoryx2;
mod nonblocking;
pub mod pipe;
pub mod rtrb;
pub mod udp_loopback;
pub mod unix_datagram;

use tickcast_harness::BUILT_IN;
use tickcast_harness::catalogue::Entry;

/// Who can take part: what is always there, and all peers that were compiled in.
pub const CATALOGUE: &[Entry] = &[
    BUILT_IN[0],
    BUILT_IN[1],
    Entry::of::<rtrb::Rtrb>(),
    Entry::of::<disruptor::Disruptor>(),
    Entry::of::<crossbeam_channel::CrossbeamChannel>(),
    #[cfg(feature = "aeron")]
    Entry::of::<aeron::Aeron>(),
    #[cfg(feature = "aeron")]
    Entry::of::<aeron::AeronOffer>(),
    #[cfg(feature = "aeron")]
    Entry::of::<aeron::AeronSpinning>(),
    #[cfg(feature = "iceoryx2")]
    Entry::of::<iceoryx2::Iceoryx2>(),
    #[cfg(feature = "iceoryx2")]
    Entry::of::<iceoryx2::Iceoryx2Overflow>(),
    Entry::of::<unix_datagram::UnixDatagrams>(),
    Entry::of::<pipe::Pipe>(),
    Entry::of::<udp_loopback::UdpLoopback>(),
];

/// The names of peers that were not compiled in, and what to do to get them.
pub const LEFT_OUT: &[(&str, &str)] = &[
    #[cfg(not(feature = "iceoryx2"))]
    ("iceoryx2", "build with --features iceoryx2; it needs Rust 1.89"),
    #[cfg(not(feature = "aeron"))]
    (
        "aeron",
        "build with --features aeron; it needs libclang and cmake 3.30, see benches/peers/run",
    ),
];
