//! fio, where it is installed: a second opinion of what the disk can do.
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::direct::Request;
use super::place::Place;

/// The program that was found, by its version.
pub(super) struct Fio(String);

impl Fio {
    pub(super) fn find() -> Option<Self> {
        let output = Command::new("fio").arg("--version").stderr(Stdio::null()).output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        output.status.success().then_some(Self(version))
    }

    /// Writes a file of so many bytes, which was written before. Returns bytes a second.
    ///
    /// # Errors
    /// When it fails, or tells something else than expected.
    pub(super) fn write(
        &self,
        place: &Place,
        bytes: u64,
        request: Request,
        core: usize,
    ) -> Result<f64> {
        let output = Command::new("fio")
            .args(["--name=tickcast", "--rw=write", "--ioengine=io_uring", "--overwrite=1"])
            .args(["--output-format=json", "--thread"])
            .arg(format!("--direct={}", u8::from(place.is_direct())))
            .arg(format!("--filename={}", place.path().join("fio").display()))
            .arg(format!("--size={bytes}"))
            .arg(format!("--bs={}", request.bytes))
            .arg(format!("--iodepth={}", request.depth))
            .arg(format!("--cpus_allowed={core}"))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", self.0))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} failed: {}", self.0, complaint.trim());
        rate(&output.stdout).with_context(|| format!("{} told no rate", self.0))
    }
}

/// What the report says of writing, in bytes a second. Notes may stand before it.
fn rate(report: &[u8]) -> Option<f64> {
    let begin = report.iter().position(|byte| *byte == b'{')?;
    let report: Value = serde_json::from_slice(&report[begin..]).ok()?;
    let job = &report["jobs"][0];
    let rate = job["write"]["bw_bytes"].as_f64()?;
    (job["error"].as_i64() == Some(0) && rate > 0.0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_found_behind_notes() {
        let report = br#"fio: a note
            {"jobs": [{"error": 0, "write": {"bw_bytes": 123456, "bw": 120}}]}"#;
        assert_eq!(rate(report), Some(123_456.0));
        assert_eq!(rate(br#"{"jobs": [{"error": 5, "write": {"bw_bytes": 1}}]}"#), None);
        assert_eq!(rate(b"no report"), None);
    }
}
