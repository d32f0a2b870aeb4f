//! Aeron's IPC channel: its own C client and C media driver, built from the sources that the crate
//! `rusteron-media-driver` carries.
//!
//! An exclusive publication and `try_claim`, which its cookbook names for the absolute maximum of
//! performance ("How to avoid buffer copies when sending"). With small messages `offer` was faster
//! all the same, at least in round trips, so that is a contender of its own. Both are polled
//! through the subscription: polling the image was no faster. Terms are allocated and touched
//! beforehand. The largest MTU lets all payloads go in one piece: those that do not cannot be
//! claimed, and have to be assembled again. Terms of 16 MiB were as fast as the default of 64 MiB;
//! half of a term can be under way.
//!
//! Its authors give the [`driver`] cores of its own, to spin on. Here are two cores, and both are
//! measured: the driver and the clients' conductors sleep when idle, which costs nothing of what is
//! measured as long as they move the limit of a publication in time.
use std::any::Any;
use std::cell::RefCell;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rusteron_media_driver::{
    AeronBufferClaim, AeronCError, AeronContext, AeronExclusivePublication, AeronOfferError,
    AeronSubscription, Handlers,
};
use rustix::process::Pid;
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use tickcast_harness::message::Words;
use tickcast_harness::transport::{Link, Place, Receiver, Run, Sender, Transport};
use zerocopy::{FromBytes, IntoBytes};

use driver::Driver;
pub use driver::{BINARY, DRIVER_COMMAND};

pub mod driver;

/// The largest MTU that there is: a publication's payload is 32 bytes less.
const CHANNEL: &std::ffi::CStr = c"aeron:ipc?mtu=65504";
/// How long the driver may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The IPC channel, by `try_claim`, or by `offer`.
pub struct Ipc<const OFFERS: bool>;

/// The IPC channel with messages that are written in place.
pub type Aeron = Ipc<false>;

/// The IPC channel with messages that are copied.
pub type AeronOffer = Ipc<true>;

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
    // Last: closed after what it made.
    _client: Rc<Client>,
}

/// A client of the driver in this directory.
struct Client {
    directory: PathBuf,
    aeron: rusteron_media_driver::Aeron,
}

impl<const OFFERS: bool> Transport for Ipc<OFFERS> {
    const NAME: &'static str = if OFFERS { "aeron offer" } else { "aeron" };
    const HOW: &'static str = if OFFERS {
        "as aeron, but offer"
    } else {
        "ipc, exclusive publication, try_claim; the driver sleeps, for there are two cores"
    };
    const PLACES: &'static [Place] = &[Place::InProcess, Place::Ipc];

    type Sender<const W: usize> = AeronSender<OFFERS>;
    type Receiver<const W: usize> = AeronReceiver;

    fn create<const W: usize>(link: &Link<'_>) -> Result<Box<dyn Any>> {
        let driver = Driver::of(link.run)?;
        fs::write(link.path("stream"), driver.next_stream()?.to_string())?;
        Ok(Box::new(driver))
    }

    fn sender<const W: usize>(link: &Link<'_>) -> Result<AeronSender<OFFERS>> {
        let client = client(link.run)?;
        let publication = client
            .aeron
            .async_add_exclusive_publication(CHANNEL, stream(link)?)
            .and_then(|adding| adding.poll_blocking(PATIENCE))
            .map_err(told("cannot add a publication"))?;
        let most = publication.get_constants().map_err(told("cannot ask for the limits"))?;
        let most = most.max_payload_length();
        ensure!(size_of::<Words<W>>() <= most, "no more than {most} bytes go in one piece");
        Ok(AeronSender { publication, claim: AeronBufferClaim::default(), _client: client })
    }

    fn receiver<const W: usize>(link: &Link<'_>) -> Result<AeronReceiver> {
        let client = client(link.run)?;
        let subscription = client
            .aeron
            .async_add_subscription(CHANNEL, stream(link)?, Handlers::NONE, Handlers::NONE)
            .and_then(|adding| adding.poll_blocking(PATIENCE))
            .map_err(told("cannot add a subscription"))?;
        Ok(AeronReceiver { subscription, _client: client })
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

/// Where the driver of a run is.
fn directory(run: &Run) -> PathBuf {
    run.directory.join("aeron")
}

/// Aeron's way to name a directory.
fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

thread_local! {
    /// The client of this thread's ends, as long as there are any: its handles cannot leave it.
    static CLIENT: RefCell<Weak<Client>> = const { RefCell::new(Weak::new()) };
}

/// This thread's client.
fn client(run: &Run) -> Result<Rc<Client>> {
    let directory = directory(run);
    CLIENT.with_borrow_mut(|kept| {
        if let Some(client) = kept.upgrade().filter(|client| client.directory == directory) {
            return Ok(client);
        }
        let client = Rc::new(Client::connect(directory, run)?);
        *kept = Rc::downgrade(&client);
        Ok(client)
    })
}

impl Client {
    fn connect(directory: PathBuf, run: &Run) -> Result<Self> {
        let fails = told("cannot connect to the media driver");
        let context = AeronContext::new().map_err(&fails)?;
        context.set_dir(&c_path(&directory)?).map_err(&fails)?;
        context.set_pre_touch_mapped_memory(true).map_err(&fails)?;
        let aeron = rusteron_media_driver::Aeron::new(&context).map_err(&fails)?;
        where_the_driver_may_run(run, || aeron.start().map_err(&fails))?;
        Ok(Self { directory, aeron })
    }
}

/// Does what starts a thread: that may run where the driver may, and not only on the core that this
/// thread may have been pinned to, which is measured.
fn where_the_driver_may_run<T>(run: &Run, start: impl FnOnce() -> Result<T>) -> Result<T> {
    let driver: i32 = fs::read_to_string(driver::pid_path(run))?.parse()?;
    let allowed = sched_getaffinity(None)?;
    sched_setaffinity(None, &sched_getaffinity(Pid::from_raw(driver))?)?;
    let started = start();
    sched_setaffinity(None, &allowed)?;
    started
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

impl<const W: usize> Receiver<W> for AeronReceiver {
    #[inline(always)]
    fn poll(&mut self, limit: usize, mut take: impl FnMut(&Words<W>)) -> Result<usize> {
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
