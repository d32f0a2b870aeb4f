//! Who takes part: the one place where a contender is added. Its far half goes into the list that
//! the child serves, its near half into the list of the parent, at the same index.
use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use tickcast::runtime::IdleStrategy;
use tickcast::{Bus, Publisher};

use super::block::{Contender, Publish, RoundTrip, RoundTripper, Streamer};
use super::bus_round_trip::{BusRoundTrip, Ends, SharedEnds};
use super::bus_stream::{COPIED, IN_PLACE, IN_PLACE_SPINNING, InBatches, OneByOne};
use super::fanout::{CROWDS, Crowd, FanOut};
use super::handoff::{self, HandOff};
use super::peer::{Counterpart, Far, Peer};
use super::rtrb_stream::{self, RtrbConsumer, RtrbProducer};
use super::shared::{Line, Shared};
use super::stream::{self, Stream};
use super::temporary_bus::TemporaryBus;

/// Pause instructions after an empty poll, where a reader of the bare stream waits for batches.
const STREAM_BATCHING: u32 = 32;
/// The same for `rtrb`: among 8 to 8192, this served it well in every run.
const RTRB_BATCHING: u32 = 128;

/// The roles of the far halves: for round trips without and with a pause after an empty poll.
const HAND_OFF: [usize; 2] = [0, 1];
const STREAM: [usize; 2] = [2, 3];
const BUS_ROUND_TRIP: [usize; 2] = [4, 5];
const BUS_IN_PLACE: usize = 6;
const BUS_IN_PLACE_SPINNING: usize = 7;
const BUS_COPIED: usize = 8;
const BUS_FAN_OUT: usize = 9;

/// Which of the contenders for round trips are on the bus: they follow the hand-offs.
pub(crate) const BUS_ROUND_TRIPPERS: Range<usize> =
    HAND_OFF.len()..HAND_OFF.len() + BUS_ROUND_TRIP.len();

/// How the shared lines are used.
pub(crate) struct Layout<'a> {
    pub(crate) control: &'a Line,
    handoff: &'a [Line; handoff::LINES],
    stream: &'a [Line; stream::LINES],
}

impl<'a> Layout<'a> {
    /// The control line has its neighbour to itself, too.
    const CONTROL_LINES: usize = 2;
    pub(crate) const LINES: usize = Self::CONTROL_LINES + handoff::LINES + stream::LINES;

    /// Divides the lines of `shared`.
    ///
    /// # Errors
    /// When there are too few.
    pub(crate) fn of(shared: &'a Shared) -> Result<Self> {
        let divide = || {
            let (control, rest) = shared.lines().split_at_checked(Self::CONTROL_LINES)?;
            let (handoff, rest) = rest.split_first_chunk()?;
            let (stream, _) = rest.split_first_chunk()?;
            Some(Self { control: &control[0], handoff, stream })
        };
        divide().context("the shared lines were made by another version; use one binary for both")
    }

    /// The far halves that the child serves; the index is the role. `bus` is the parent's.
    ///
    /// # Errors
    /// When the bus is gone.
    pub(crate) fn far_halves(&self, bus: &Bus) -> Result<Vec<Box<dyn Far + 'a>>> {
        let mut fars = self.bare_far_halves();
        let ends = Ends::far(bus)?;
        fars.push(Box::new(BusRoundTrip::<0>(Rc::clone(&ends))));
        fars.push(Box::new(BusRoundTrip::<1>(ends)));
        let pausing = IdleStrategy::SpinPause;
        fars.push(Box::new(IN_PLACE.reader(bus, pausing)?));
        fars.push(Box::new(IN_PLACE_SPINNING.reader(bus, IdleStrategy::BusySpin)?));
        fars.push(Box::new(COPIED.reader(bus, pausing)?));
        for crowd in &CROWDS {
            fars.push(Box::new(crowd.far(bus)?));
        }
        Ok(fars)
    }

    fn bare_far_halves(&self) -> Vec<Box<dyn Far + 'a>> {
        vec![
            Box::new(HandOff::<0>::new(self.handoff)),
            Box::new(HandOff::<1>::new(self.handoff)),
            Box::new(Stream::<0>::new(self.stream)),
            Box::new(Stream::<STREAM_BATCHING>::new(self.stream)),
        ]
    }

    /// The bare hand-off in its variants: how far polls are apart decides how often a poll meets a
    /// store, and which distance is best differs from build to build and from host to host.
    pub(crate) fn handoffs(&self, child: &Child<'a>) -> Vec<RoundTripper<'a>> {
        let variant = |name, near: Box<dyn RoundTrip + 'a>, role| -> RoundTripper<'a> {
            Contender { name, near, far: child.role(role) }
        };
        let [spinning, pausing] = HAND_OFF;
        let lines = self.handoff;
        vec![
            variant("bare hand-off", Box::new(HandOff::<0>::new(lines)), spinning),
            variant("bare hand-off, pausing", Box::new(HandOff::<1>::new(lines)), pausing),
        ]
    }

    /// The contenders for round trips. The hand-off runs among them, too: a faster variant whose
    /// ratio is not about 1 says that the yardstick does not repeat.
    pub(crate) fn round_trippers(
        &self,
        child: &Child<'a>,
        ends: SharedEnds,
    ) -> Vec<RoundTripper<'a>> {
        let mut contenders = self.handoffs(child);
        let bus = |name, near: Box<dyn RoundTrip>, role| -> RoundTripper<'a> {
            Contender { name, near, far: child.role(role) }
        };
        let [spinning, pausing] = BUS_ROUND_TRIP;
        contenders.push(bus("bus", Box::new(BusRoundTrip::<0>(Rc::clone(&ends))), spinning));
        contenders.push(bus("bus, pausing", Box::new(BusRoundTrip::<1>(ends)), pausing));
        contenders
    }

    /// The contenders for throughput, and what the others are compared with among them.
    ///
    /// # Errors
    /// When a thread cannot be started on `far_core`.
    pub(crate) fn streamers(
        &self,
        child: &Child<'a>,
        far_core: usize,
        BusStreams { in_place, spinning: in_place_spinning, copied }: BusStreams,
    ) -> Result<Vec<(Option<Part>, Streamer<'a>)>> {
        let (spinning, spinning_thread) = rtrb_stream::start::<0>(far_core)?;
        let (pausing, pausing_thread) = rtrb_stream::start::<1>(far_core)?;
        let (batching, batching_thread) = rtrb_stream::start::<RTRB_BATCHING>(far_core)?;
        let rtrb = |name, near: RtrbProducer, far: RtrbConsumer| -> Streamer<'a> {
            Contender { name, near: Box::new(near), far: Box::new(far) }
        };
        let [plain, in_batches] = STREAM;
        let bare = |name, role| -> Streamer<'a> {
            let near = Box::new(Stream::<0>::new(self.stream));
            Contender { name, near, far: child.role(role) }
        };
        let bus = |name, near: Box<dyn Publish>, role| -> Streamer<'a> {
            Contender { name, near, far: child.role(role) }
        };
        let one_by_one = Box::new(OneByOne(Rc::clone(&in_place)));
        Ok(vec![
            (Some(Part::Rival), rtrb("rtrb", spinning, spinning_thread)),
            (Some(Part::Rival), rtrb("rtrb, pausing", pausing, pausing_thread)),
            (Some(Part::BatchingRival), rtrb("rtrb, batching", batching, batching_thread)),
            (Some(Part::Limit), bare("bare stream", plain)),
            (Some(Part::Limit), bare("bare stream, batching", in_batches)),
            (None, bus("bus", one_by_one, BUS_IN_PLACE)),
            (
                None,
                bus("bus, spinning", Box::new(OneByOne(in_place_spinning)), BUS_IN_PLACE_SPINNING),
            ),
            (None, bus("bus, in batches", Box::new(InBatches(in_place)), BUS_IN_PLACE)),
            (None, bus("bus, read as copies", Box::new(OneByOne(copied)), BUS_COPIED)),
        ])
    }
}

/// The publishers of the streams over the bus.
pub(crate) struct BusStreams {
    in_place: Rc<RefCell<Publisher>>,
    /// Its reader never pauses.
    spinning: Rc<RefCell<Publisher>>,
    copied: Rc<RefCell<Publisher>>,
}

/// All near halves that are on the bus. They are made before the child is started, since it opens
/// their topics at once.
pub(crate) struct NearOnBus {
    pub(crate) round_trip: SharedEnds,
    pub(crate) streams: BusStreams,
    pub(crate) fan_outs: Vec<FanOut>,
}

impl NearOnBus {
    /// Makes all topics.
    ///
    /// # Errors
    /// When shared memory is full.
    pub(crate) fn create(bus: &TemporaryBus) -> Result<Self> {
        let fan_outs: Result<_> = CROWDS.iter().map(|crowd| crowd.near(bus)).collect();
        Ok(Self {
            round_trip: Ends::near(bus)?,
            streams: BusStreams {
                in_place: IN_PLACE.publisher(bus)?,
                spinning: IN_PLACE_SPINNING.publisher(bus)?,
                copied: COPIED.publisher(bus)?,
            },
            fan_outs: fan_outs?,
        })
    }
}

/// The contenders for fan-out, in the order of [`CROWDS`].
pub(crate) fn fan_outs<'a>(child: &Child<'a>, fan_outs: Vec<FanOut>) -> Vec<Contender<'a, FanOut>> {
    let contender = |(at, (crowd, near)): (usize, (&Crowd, FanOut))| {
        let far = child.role(BUS_FAN_OUT + at);
        Contender { name: crowd.name, near: Box::new(near), far }
    };
    CROWDS.iter().zip(fan_outs).enumerate().map(contender).collect()
}

/// What a contender for throughput stands for in the figures of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The physical limit, as far as a bare loop reaches it; nobody may be faster.
    Limit,
    /// What is to be outdone: `rtrb` in a plain loop that spins when it is full or empty.
    Rival,
    /// `rtrb` whose reader waits for batches, as readers of streams do here; it is told apart,
    /// since that alone makes `rtrb` several times faster.
    BatchingRival,
}

/// The child process, as the contenders share it.
pub(crate) struct Child<'a>(Rc<RefCell<Peer<'a>>>);

impl<'a> Child<'a> {
    /// Starts the child on `core`.
    ///
    /// # Errors
    /// When the binary cannot be started again.
    pub(crate) fn start(core: usize, shared: &Path, layout: &Layout<'a>) -> Result<Self> {
        Ok(Self(Rc::new(RefCell::new(Peer::start(core, shared, layout.control)?))))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.0.borrow().pid()
    }

    fn role(&self, role: usize) -> Box<dyn Counterpart + 'a> {
        Box::new(Role { peer: Rc::clone(&self.0), role })
    }
}

/// One far half of the child.
struct Role<'a> {
    peer: Rc<RefCell<Peer<'a>>>,
    role: usize,
}

impl Counterpart for Role<'_> {
    fn start(&mut self, count: u64) -> Result<()> {
        self.peer.borrow_mut().begin(self.role, count)
    }

    fn finish(&mut self) -> Result<()> {
        self.peer.borrow_mut().finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_divides_the_lines_as_the_parent_does() {
        let shared = Shared::create(Layout::LINES).unwrap();
        let bare = Layout::of(&shared).unwrap().bare_far_halves().len();
        assert_eq!(bare, HAND_OFF.len() + STREAM.len());
        assert_eq!(bare, BUS_ROUND_TRIP[0]);
        let short = Shared::create(Layout::LINES - 1).unwrap();
        assert!(Layout::of(&short).is_err());
    }
}
