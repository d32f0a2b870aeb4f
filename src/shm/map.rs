//! Memory shared through a file: allocating it, and mapping it into this process.

use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::fork::{self, Generation};

/// What may be done through a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// A store through the mapping is a segmentation fault.
    ReadOnly,
    /// The same, with pages that come with the first accesses: for a look at a few of many.
    Glance,
    ReadWrite,
}

/// Which pages to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// What the file system gives; on hugetlbfs these are its huge pages.
    Default,
    /// Transparent huge pages, where the tmpfs grants them: the `huge=` option of the mount decides
    /// (`advise`, `within_size` or `always`), and `deny` or `force` in
    /// `/sys/kernel/mm/transparent_hugepage/shmem_enabled` overrules it.
    TransparentHuge,
}

/// A part of a file in this process's address space, shared with whoever else maps it.
///
/// It is not inherited by forked children; a `Map` that is dropped in one does nothing. Whoever
/// uses its address there meets nothing, or what the child has mapped at the address since.
#[derive(Debug)]
pub(crate) struct Map {
    /// `None` only while it is dropped.
    mapping: Option<MmapRaw>,
    base: NonNull<AtomicU64>,
    access: Access,
    made_in: Generation,
}

// SAFETY: `base` is an address that is valid in every thread, and all that a `Map` offers on it is
// the address; whoever dereferences it answers for the access.
unsafe impl Send for Map {}
// SAFETY: as above; no method changes the `Map`.
unsafe impl Sync for Map {}

impl Map {
    /// Maps `len` bytes at `offset` of `file` and touches each page, so that no later access
    /// faults; but for [`Access::Glance`].
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `offset` or `len` is not a multiple of the page size (see
    /// [`page_bytes`]) or `len` is 0, `UnexpectedEof` when the file is shorter than that,
    /// `StorageFull` when its pages cannot be had. A file that somebody truncates *later* still
    /// ends in a SIGBUS: give write permission to those who are trusted only.
    pub(crate) fn new(
        file: &File,
        offset: u64,
        len: usize,
        access: Access,
        pages: Pages,
    ) -> io::Result<Map> {
        fork::watch()?;
        let page_bytes = page_bytes(file)?;
        if len == 0
            || !offset.is_multiple_of(page_bytes)
            || !(len as u64).is_multiple_of(page_bytes)
        {
            let text = format!("cannot map {len} bytes at {offset}: pages have {page_bytes} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let file_bytes = file.metadata()?.len();
        if offset.checked_add(len as u64).is_none_or(|end| end > file_bytes) {
            let text = format!(
                "the file has {file_bytes} bytes, too few for {len} at {offset}: it was truncated \
                 or is of another version; remove and recreate it"
            );
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }

        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        let (mapping, touch) = match access {
            Access::ReadOnly => (options.map_raw_read_only(file)?, Some(Advice::PopulateRead)),
            Access::Glance => (options.map_raw_read_only(file)?, None),
            Access::ReadWrite => (options.map_raw(file)?, Some(Advice::PopulateWrite)),
        };
        mapping.advise(Advice::DontFork)?;
        if pages == Pages::TransparentHuge {
            // Before the first touch, which decides the size of the pages. Kernels built without
            // transparent huge pages refuse the advice, and small pages do the same work.
            if let Err(error) = mapping.advise(Advice::HugePage) {
                log::debug!("no transparent huge pages: {error}");
            }
        }
        match touch.map_or(Ok(()), |touch| mapping.advise(touch)) {
            Ok(()) => {}
            // Not known before Linux 5.14: then the pages come with the first accesses.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                log::debug!("memory is not touched in advance: {error}");
            }
            // Where an access would be answered by SIGBUS, and there are no pages.
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            Err(error) => return Err(error),
        }
        let base = NonNull::new(mapping.as_mut_ptr()).expect("a mapping is never at 0").cast();
        Ok(Map { mapping: Some(mapping), base, access, made_in: Generation::now() })
    }

    /// The first byte, aligned to a page.
    ///
    /// In a read-only mapping only *relaxed* atomic loads are defined by the language (an acquire
    /// is a relaxed load and then an acquire fence): see "Atomic accesses to read-only memory" in
    /// [`std::sync::atomic`].
    pub(crate) fn base(&self) -> NonNull<AtomicU64> {
        self.base
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.mapping.as_ref().map_or(0, MmapRaw::len)
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        if !self.made_in.is_current() {
            // A forked child: nothing of ours is mapped at this address, something else may be.
            mem::forget(self.mapping.take());
        }
    }
}

/// Makes `file` `len` bytes long and reserves the memory for all of them, so that a lack of it is
/// an error here and no SIGBUS later. `len` is a multiple of [`page_bytes`].
///
/// # Errors
///
/// `StorageFull` when there is too little room, and what the file system says; the file may then
/// hold a part of it.
pub(crate) fn allocate(file: &File, len: u64, pages: Pages) -> io::Result<()> {
    if pages == Pages::TransparentHuge {
        // `fallocate` knows no advice and would take small pages where the mount says
        // `huge=advise`; touching advised memory takes huge ones.
        file.set_len(len)?;
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        drop(Map::new(file, 0, len, Access::ReadWrite, pages)?);
    }
    let bytes = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    loop {
        // SAFETY: `fallocate` takes no pointer, and the descriptor is open while `file` is
        // borrowed.
        let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The size of the pages that `file` is mapped with: offsets and lengths are multiples of it.
pub(crate) fn page_bytes(file: &File) -> io::Result<u64> {
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the pointer is to a `statfs` that lives through the call.
    if unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has filled the structure.
    let found = unsafe { found.assume_init() };
    if found.f_type == libc::HUGETLBFS_MAGIC {
        return Ok(found.f_bsize as u64);
    }
    // SAFETY: `sysconf` takes no pointer.
    Ok(unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    const PAGE: usize = 4096;

    fn file_of(len: u64) -> File {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        allocate(&file, len, Pages::Default).unwrap();
        file
    }

    fn word(map: &Map) -> &AtomicU64 {
        // SAFETY: the mapping is at least a page long, aligned, and lives as long as `map`.
        unsafe { map.base().as_ref() }
    }

    #[test]
    fn two_mappings_of_a_file_show_the_same_memory() {
        let size = 4 * page_bytes(&tempfile::tempfile().unwrap()).unwrap();
        let file = file_of(size);
        let half = size / 2;
        let map = |offset, len, access| {
            Map::new(&file, offset, len as usize, access, Pages::Default).unwrap()
        };
        let writer = map(half, half, Access::ReadWrite);
        let reader = map(half, half, Access::ReadOnly);
        let elsewhere = map(0, half, Access::ReadOnly);
        word(&writer).store(7, Ordering::Relaxed);
        assert_eq!(word(&reader).load(Ordering::Relaxed), 7);
        assert_eq!(word(&elsewhere).load(Ordering::Relaxed), 0);
        assert_eq!((reader.len_bytes() as u64, reader.access()), (half, Access::ReadOnly));
    }

    #[test]
    fn what_the_file_does_not_hold_is_refused() {
        let file = file_of(4 * PAGE as u64);
        let kind = |offset, len| {
            Map::new(&file, offset, len, Access::ReadOnly, Pages::Default).unwrap_err().kind()
        };
        file.set_len(2 * PAGE as u64).unwrap();
        assert_eq!(kind(0, 4 * PAGE), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(PAGE as u64, 2 * PAGE), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(u64::MAX - 4095, PAGE), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(0, 0), io::ErrorKind::InvalidInput);
        assert_eq!(kind(0, 100), io::ErrorKind::InvalidInput);
        assert_eq!(kind(64, PAGE), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn more_than_there_is_room_for_is_an_error_and_no_signal() {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        let error = allocate(&file, 1 << 50, Pages::Default).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        // More than the address space, so that the test does not fill the shared memory.
        allocate(&file, 1 << 62, Pages::TransparentHuge).unwrap_err();
    }

    #[test]
    fn pages_asked_to_be_huge_are_usable_whether_granted_or_not() {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        let len = 4 << 20;
        allocate(&file, len as u64, Pages::TransparentHuge).unwrap();
        let map = Map::new(&file, 0, len, Access::ReadWrite, Pages::TransparentHuge).unwrap();
        word(&map).store(1, Ordering::Relaxed);
        assert_eq!(file.metadata().unwrap().len(), len as u64);
    }

    #[test]
    fn a_forked_child_neither_has_the_memory_nor_unmaps_what_took_its_place() {
        let file = file_of(PAGE as u64);
        let map = Map::new(&file, 0, PAGE, Access::ReadWrite, Pages::Default).unwrap();
        let address = map.base().as_ptr().cast::<libc::c_void>();
        // SAFETY: the child makes system calls and drops the map, which makes one more, then exits.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            // SAFETY: MAP_FIXED_NOREPLACE takes the address only when it is free.
            let other = unsafe { libc::mmap(address, PAGE, libc::PROT_READ, flags, -1, 0) };
            let was_free = other == address;
            drop(map);
            // SAFETY: `msync` only examines the address range.
            let still_there = unsafe { libc::msync(address, PAGE, libc::MS_ASYNC) } == 0;
            let code = i32::from(!was_free) + 2 * i32::from(!still_there);
            // SAFETY: ends the child without running anything of the test process.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above; `status` lives through the call.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "1: still mapped in the child, 2: unmapped by it, 3: both");
        word(&map).store(1, Ordering::Relaxed);
    }
}
