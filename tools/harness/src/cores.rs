//! The two cores that a benchmark runs on are chosen, and threads pinned to them, here.
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use core_affinity::CoreId;
use serde::Serialize;

/// Where the two sides run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cores {
    /// The core of the parent: it times and publishes.
    pub near: usize,
    /// The core of the child, and of a peer's second thread.
    pub far: usize,
}

impl Cores {
    /// The two cores that were asked for, or the first two that this process may run on; twice the
    /// same one where there is only one.
    ///
    /// # Errors
    /// When the system does not tell, or not two cores were asked for.
    pub fn choose(wanted: &[usize]) -> Result<Self> {
        match *wanted {
            [near, far] => return Ok(Self { near, far }),
            [] => {}
            _ => bail!("a benchmark has two sides; name two cores, such as 2,3"),
        }
        let allowed = core_affinity::get_core_ids().context("cannot ask for the allowed cores")?;
        let near = allowed.first().context("no core is allowed to this process")?.id;
        Ok(Self { near, far: allowed.get(1).map_or(near, |core| core.id) })
    }

    /// Whether both sides share one core, so that latencies measure the scheduler.
    pub fn oversubscribed(self) -> bool {
        self.near == self.far
    }
}

/// Keeps the calling thread on `core`.
///
/// # Errors
/// When the core does not exist or is not allowed to this process.
pub fn pin(core: usize) -> Result<()> {
    ensure!(
        core_affinity::set_for_current(CoreId { id: core }),
        "cannot pin a thread to core {core}; name a core that this process may use (see taskset -p)"
    );
    Ok(())
}

/// How often the calling thread had to leave its core to another program so far.
///
/// # Errors
/// When the kernel does not tell.
pub fn preemptions() -> Result<u64> {
    let path = "/proc/thread-self/status";
    let status = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let count = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    let count = count.with_context(|| format!("{path} does not count context switches"))?;
    count.trim().parse().with_context(|| format!("{path} counts context switches as {count}"))
}
