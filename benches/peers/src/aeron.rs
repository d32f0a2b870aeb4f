//! Aeron's IPC channel: its own C client and C media driver, built from the sources that the crate
//! `rusteron-media-driver` carries.
//!
//! An exclusive publication and `try_claim`, which its cookbook names for the absolute maximum of
//! performance ("How to avoid buffer copies when sending"). With small messages `offer` was faster
//! all the same, at least in round trips, so that is a contender of its own. Both are polled
//! through the subscription: polling the image was no faster. Terms are allocated and touched
//! beforehand. The largest MTU lets all payloads go in one piece: those that do not cannot be
//! claimed, and have to be assembled again.
//!
//! Terms are of 32 MiB, half of which can be under way. With 16 MiB and with 64, the default,
//! streams of 48 bytes were as fast on a quiet machine, and so were round trips; a table of all
//! payloads with the default would take 8 GiB. One message in 2,000 of the longest begins a new
//! term, of those of 48 bytes one in 350,000.
//!
//! The clients have no threads: their conductors run where they are invoked, which Aeron has for
//! those who want to say where its work is done. Here that is when ends are opened, and until a
//! subscription has found its publication. Nobody looks for dead clients meanwhile.
//!
//! Its authors have the [`driver`] spin on a core of its own (`ipc-c-media-driver` among their
//! samples' scripts): a third contender, where there are more than the two cores that are measured.
//! That of the others sleeps when idle, on a measured core if there is no other, and rests while
//! others are measured.
use std::any::Any;
use std::cell::RefCell;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rusteron_media_driver::{
    AeronBufferClaim, AeronCError, AeronContext, AeronErrorType, AeronExclusivePublication,
    AeronOfferError, AeronSubscription, Handlers,
};
use tickcast_harness::message::Words;
use tickcast_harness::transport::{Link, Place, Receiver, Run, Sender, Transport};
use zerocopy::{FromBytes, IntoBytes};

use driver::Driver;
pub use driver::{BINARY, DRIVER_COMMAND, Setting};

pub mod driver;

/// The largest MTU that there is: a publication's payload is 32 bytes less.
const CHANNEL: &std::ffi::CStr = c"aeron:ipc?mtu=65504";
/// How long the driver may take to answer, a client or its parent.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client sleeps before it asks again.
const PAUSE: Duration = Duration::from_micros(100);
/// How long drivers and clients may be silent before they count as dead: longer than any run.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The IPC channel, by `try_claim`, or by `offer`, with a driver that sleeps, or spins.
pub struct Ipc<const OFFERS: bool, const SPINS: bool>;

/// The IPC channel with messages that are written in place.
pub type Aeron = Ipc<false, false>;

/// The IPC channel with messages that are copied.
pub type AeronOffer = Ipc<true, false>;

/// The IPC channel with messages that are written in place, and a driver with a core of its own.
pub type AeronSpinning = Ipc<false, true>;

/// A publication.
pub struct AeronSender<const OFFERS: bool> {
    publication: AeronExclusivePublication,
    claim: AeronBufferClaim,
    // Last: closed after what it made.
    _client: Rc<Client>,
}

/// A subscription.
pub struct AeronReceiver {
    subscription: AeronSubscription,
    /// Whether the publication has not been found yet.
    waits: bool,
    // Last: closed after what it made.
    client: Rc<Client>,
}

/// A client of the driver in this directory.
struct Client {
    directory: PathBuf,
    aeron: rusteron_media_driver::Aeron,
}

impl<const OFFERS: bool, const SPINS: bool> Transport for Ipc<OFFERS, SPINS> {
    const NAME: &'static str = match (OFFERS, SPINS) {
        (false, false) => "aeron",
        (true, false) => "aeron offer",
        (false, true) => "aeron spinning",
        (true, true) => "aeron offer spinning",
    };
    const HOW: &'static str = match (OFFERS, SPINS) {
        (false, false) => {
            "ipc, exclusive publication, try_claim; a shared driver that sleeps when idle"
        }
        (true, false) => "as aeron, but offer",
        (false, true) => "as aeron, but a driver that spins on a core of its own",
        (true, true) => "as aeron, but offer, and a driver that spins on a core of its own",
    };
    const PLACES: &'static [Place] = &[Place::InProcess, Place::Ipc];

    type Sender<const W: usize> = AeronSender<OFFERS>;
    type Receiver<const W: usize> = AeronReceiver;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        let driver = Driver::of(link.run, SPINS)?;
        fs::write(link.path("stream"), driver.next_stream()?.to_string())?;
        Ok(Box::new(driver))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<AeronSender<OFFERS>> {
        let client = client(driver::directory(link.run, SPINS))?;
        let publication = client
            .aeron
            .async_add_exclusive_publication(CHANNEL, stream(link)?)
            .and_then(|adding| client.wait(|| adding.poll()))
            .map_err(told("cannot add a publication"))?;
        let most = publication.get_constants().map_err(told("cannot ask for the limits"))?;
        let most = most.max_payload_length();
        ensure!(size_of::<Words<W>>() <= most, "no more than {most} bytes go in one piece");
        Ok(AeronSender { publication, claim: AeronBufferClaim::default(), _client: client })
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<AeronReceiver> {
        let client = client(driver::directory(link.run, SPINS))?;
        let subscription = client
            .aeron
            .async_add_subscription(CHANNEL, stream(link)?, Handlers::NONE, Handlers::NONE)
            .and_then(|adding| client.wait(|| adding.poll()))
            .map_err(told("cannot add a subscription"))?;
        Ok(AeronReceiver { subscription, waits: true, client })
    }

    fn wake(run: &Run) -> Result<()> {
        Driver::of(run, SPINS)?.wake()
    }

    fn rest(run: &Run) -> Result<()> {
        Driver::of(run, SPINS)?.rest()
    }
}

/// What Aeron says about an error, and what failed by it.
fn told(what: &'static str) -> impl Fn(AeronCError) -> anyhow::Error {
    move |error| {
        let told = rusteron_media_driver::Aeron::errmsg();
        anyhow!("{what}: {error}: {told}")
    }
}

/// The number of the stream that is this link.
fn stream(link: &Link<'_>) -> Result<i32> {
    let path = link.path("stream");
    let number =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()));
    Ok(number?.parse()?)
}

/// Aeron's way to name a directory.
fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

thread_local! {
    /// The clients of this thread's ends, one for each driver: their handles cannot leave it.
    static CLIENTS: RefCell<Vec<Weak<Client>>> = const { RefCell::new(Vec::new()) };
}

/// This thread's client of the driver in this directory.
fn client(directory: PathBuf) -> Result<Rc<Client>> {
    CLIENTS.with_borrow_mut(|clients| {
        clients.retain(|client| client.strong_count() > 0);
        let known = clients.iter().filter_map(Weak::upgrade);
        if let Some(client) = { known }.find(|client| client.directory == directory) {
            return Ok(client);
        }
        let client = Rc::new(Client::connect(directory)?);
        clients.push(Rc::downgrade(&client));
        Ok(client)
    })
}

impl Client {
    fn connect(directory: PathBuf) -> Result<Self> {
        let fails = told("cannot connect to the media driver");
        let context = AeronContext::new().map_err(&fails)?;
        context.set_dir(&c_path(&directory)?).map_err(&fails)?;
        context.set_pre_touch_mapped_memory(true).map_err(&fails)?;
        context.set_use_conductor_agent_invoker(true).map_err(&fails)?;
        context.set_driver_timeout_ms(FOREVER.as_millis() as u64).map_err(&fails)?;
        let aeron = rusteron_media_driver::Aeron::new(&context).map_err(&fails)?;
        aeron.start().map_err(&fails)?;
        Ok(Self { directory, aeron })
    }

    /// Waits for an answer of the driver, and sleeps meanwhile: it may need this core.
    fn wait<T>(
        &self,
        mut poll: impl FnMut() -> Result<Option<T>, AeronCError>,
    ) -> Result<T, AeronCError> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            self.aeron.main_do_work()?;
            if let Some(answer) = poll()? {
                return Ok(answer);
            }
            thread::sleep(PAUSE);
        }
        Err(AeronErrorType::TimedOut.into())
    }
}

impl<const W: usize, const OFFERS: bool> Sender<W> for AeronSender<OFFERS> {
    #[inline(always)]
    fn try_send(&mut self, message: &Words<W>) -> Result<bool> {
        let bytes = message.as_bytes();
        let sent = if OFFERS {
            self.publication.offer(bytes)
        } else {
            self.publication.try_claim(bytes.len(), &self.claim)
        };
        if let Err(error) = sent {
            return or_no_room(error);
        }
        if !OFFERS {
            self.claim.data_mut().copy_from_slice(bytes);
            self.claim.commit().map_err(told("cannot commit a message"))?;
        }
        Ok(true)
    }
}

/// Room comes, and so does a subscriber.
#[cold]
fn or_no_room(error: AeronOfferError) -> Result<bool> {
    ensure!(error.is_retryable(), "cannot claim room for a message: {error}");
    Ok(false)
}

impl AeronReceiver {
    /// Has the client hear of the publication.
    #[cold]
    fn find_publication(&mut self) -> Result<()> {
        let fails = told("cannot hear from the media driver");
        self.client.aeron.main_do_work().map_err(&fails)?;
        self.waits = self.subscription.image_count().map_err(&fails)? == 0;
        Ok(())
    }
}

impl<const W: usize> Receiver<W> for AeronReceiver {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
        if self.waits {
            self.find_publication()?;
        }
        let mut is_other = false;
        let hand_out = |bytes: &[u8], _| match Words::<W>::ref_from_bytes(bytes) {
            Ok(message) => take(message),
            Err(_) => is_other = true,
        };
        let polled = self.subscription.poll_fn(hand_out, limit);
        let polled = polled.map_err(told("cannot poll a subscription"))?;
        ensure!(!is_other, "a message is not of {} bytes", size_of::<Words<W>>());
        Ok(polled as usize)
    }
}
