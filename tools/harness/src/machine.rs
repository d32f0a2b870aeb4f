//! What a run was made on, as the kernel tells it.
use std::fs;
use std::path::Path;

use serde::Serialize;

/// A machine. What the kernel does not tell is "unknown" or "none".
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Its processor.
    pub processor: String,
    /// How many cores are on line.
    pub cores: usize,
    /// The caches of the first core.
    pub caches: String,
    /// The kernel's release.
    pub kernel: String,
    /// What the kernel reads the time from.
    pub clock_source: String,
    /// Cores that the scheduler leaves alone.
    pub isolated_cores: String,
    /// Cores without a periodic tick.
    pub tickless_cores: String,
    /// How the frequency of the first core is chosen.
    pub governor: String,
    /// What the machine runs on, if it is a virtual one.
    pub hypervisor: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let value = |key: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let cpu = "/sys/devices/system/cpu";
        let is_virtual = value("flags").is_some_and(|flags| flags.contains(" hypervisor "));
        let vendor = read("/sys/class/dmi/id/sys_vendor");
        let hypervisor = match (is_virtual, vendor.as_str()) {
            (false, _) => "none".to_owned(),
            (true, "") => "yes, of unknown make".to_owned(),
            (true, vendor) => vendor.to_owned(),
        };
        Self {
            processor: value("model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            caches: caches(Path::new("/sys/devices/system/cpu/cpu0/cache")),
            kernel: or(read("/proc/sys/kernel/osrelease"), "unknown"),
            clock_source: or(
                read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
                "unknown",
            ),
            isolated_cores: or(read(&format!("{cpu}/isolated")), "none"),
            tickless_cores: or(read(&format!("{cpu}/nohz_full")), "none").replace("(null)", "none"),
            governor: or(read(&format!("{cpu}/cpu0/cpufreq/scaling_governor")), "none"),
            hypervisor,
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn or(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

/// Such as "L1d 32K, L1i 32K, L2 512K, L3 32768K".
fn caches(directory: &Path) -> String {
    let of = |index: usize| {
        let of = |what: &str| {
            let path = directory.join(format!("index{index}")).join(what);
            Some(fs::read_to_string(path).ok()?.trim().to_owned())
        };
        let suffix = match of("type")?.as_str() {
            "Data" => "d",
            "Instruction" => "i",
            _ => "",
        };
        Some(format!("L{}{suffix} {}", of("level")?, of("size")?))
    };
    or((0..8).map_while(of).collect::<Vec<_>>().join(", "), "unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_processor_and_a_kernel() {
        let machine = Machine::this();
        assert!(machine.cores > 0, "{machine:?}");
        assert_ne!(machine.kernel, "unknown", "{machine:?}");
        assert!(!machine.isolated_cores.is_empty() && !machine.caches.is_empty(), "{machine:?}");
    }
}
