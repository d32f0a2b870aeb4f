//! Finding a file system of explicit huge pages (hugetlbfs) that has room.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A mounted hugetlbfs that this process may create files in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HugeFs {
    pub(crate) path: PathBuf,
    /// File sizes, and offsets and lengths of mappings, are multiples of this.
    pub(crate) page_bytes: u64,
}

impl HugeFs {
    /// The mount with the smallest pages that has `bytes` free now. Others may take them first, and
    /// the mount may be limited: the allocation decides.
    pub(crate) fn find(bytes: u64) -> Option<HugeFs> {
        let mounts = fs::read("/proc/self/mounts").ok()?;
        mounted(&mounts)
            .into_iter()
            .filter(|mount| free_bytes(mount.page_bytes) >= bytes && writable(&mount.path))
            .min_by_key(|mount| mount.page_bytes)
    }
}

/// The hugetlbfs mounts in a table of mounts (proc(5)), except those mounted read-only.
fn mounted(table: &[u8]) -> Vec<HugeFs> {
    table.split(|&byte| byte == b'\n').filter_map(mount_of_line).collect()
}

fn mount_of_line(line: &[u8]) -> Option<HugeFs> {
    let mut fields = line.split(|&byte| byte == b' ');
    let (_source, path, kind, options) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let options = str::from_utf8(options).ok()?;
    if kind != b"hugetlbfs" || !options.split(',').any(|option| option == "rw") {
        return None;
    }
    let page_bytes =
        options.split(',').find_map(|option| size(option.strip_prefix("pagesize=")?))?;
    Some(HugeFs { path: unescaped(path).into(), page_bytes })
}

/// `2M`, `1024M`, `1G`, `512K` or bytes, as the kernel writes page sizes.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

/// Undoes the kernel's `\040` for characters that would end a field.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let code = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

/// What is free in the pool of this page size and not promised to anyone.
fn free_bytes(page_bytes: u64) -> u64 {
    let pool = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page_bytes >> 10);
    let count = |file: &str| -> Option<u64> {
        fs::read_to_string(Path::new(&pool).join(file)).ok()?.trim().parse().ok()
    };
    let free = count("free_hugepages").unwrap_or(0);
    let promised = count("resv_hugepages").unwrap_or(0);
    free.saturating_sub(promised).saturating_mul(page_bytes)
}

fn writable(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: the string ends in a zero byte and lives through the call.
    unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) == 0 }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn mounts_are_read_as_the_kernel_writes_them() {
        let table = b"tmpfs /dev/shm tmpfs rw,size=1024k 0 0\n\
            hugetlbfs /dev/hugepages hugetlbfs rw,nosuid,relatime,pagesize=2M 0 0\n\
            none /mnt/huge\\040pages\\134x hugetlbfs rw,relatime,pagesize=1024M,size=2G 0 0\n\
            none /mnt/ro hugetlbfs ro,relatime,pagesize=2M 0 0\n\
            none /mnt/odd hugetlbfs rw,pagesize=2X 0 0\n\
            garbage\n";
        let mount = |path: &str, page_bytes| HugeFs { path: path.into(), page_bytes };
        assert_eq!(
            mounted(table),
            [mount("/dev/hugepages", 2 << 20), mount("/mnt/huge pages\\x", 1 << 30)]
        );
    }

    #[test]
    fn odd_tables_do_no_harm() {
        assert_eq!(unescaped(b"\\04"), OsString::from("\\04"));
        assert_eq!(unescaped(b"\\999a"), OsString::from("\\999a"));
        assert_eq!(size("0M"), None);
        assert_eq!(size("99999999999999999G"), None);
        assert_eq!(size("MM"), None);
    }

    #[test]
    fn more_than_any_pool_holds_is_not_found() {
        assert_eq!(HugeFs::find(u64::MAX), None);
        if let Some(mount) = HugeFs::find(1) {
            assert!(free_bytes(mount.page_bytes) > 0);
        } else {
            // Not captured by the test harness, so that it is seen.
            let why = "skipped: no hugetlbfs with free pages is mounted here";
            writeln!(std::io::stderr(), "{why}").expect("somebody listens");
        }
    }
}
