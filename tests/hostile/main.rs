//! Files that are damaged, foreign or made to deceive: whoever opens them gets an error, a notice
//! or the right data, and never a signal, a panic, an endless wait or bytes that nobody published.

mod attempt;
#[path = "../common/mod.rs"]
mod common;
mod crafted;

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use tickcast::Bus;

use attempt::{FILES, Originals, Trier, sound_bus, try_everything};
use common::child;

#[test]
fn a_sound_topic_gives_no_error() {
    let bus = sound_bus();
    for topic in ["t", "evict"] {
        let said = Trier::new().try_everything(&bus, topic, true, "sound");
        assert!(!said.contains("damaged") && said.contains("published 100"), "{said}");
    }
}

#[test]
fn truncated_and_extended_files_are_refused() {
    let bus = sound_bus();
    let originals = Originals::of(&bus, "t");
    let mut trier = Trier::new();
    for (file, (path, bytes)) in FILES.into_iter().zip(&originals.0) {
        let length = bytes.len() as u64;
        for cut in [0, 1, 7, 8, 79, 335, 4095, 4096, length / 2, length - 1, length + 1, 2 * length]
        {
            // A longer topic file is one of ours with something behind it.
            if cut == length || file == "topic" && cut > length {
                continue;
            }
            File::options().write(true).open(path).expect("there").set_len(cut).expect("room");
            let what = format!("{file} with {cut} bytes");
            let said = trier.try_everything(&bus, "t", true, &what);
            let is_refused = said.contains("does not belong to this topic")
                || said.contains(&format!("has {cut} bytes instead of {length}"));
            assert!(is_refused && said.contains("remove the bus"), "{what}: {said}");
            originals.restore();
        }
    }
}

#[test]
fn foreign_versions_and_magic_numbers_are_refused() {
    let bus = sound_bus();
    let originals = Originals::of(&bus, "t");
    let mut trier = Trier::new();
    let cases: [(usize, u64, &[u8], &str); 11] = [
        (0, 0, b"NOTATOPC", "does not belong to this topic"),
        (0, 8, &[9, 0, 0, 0], "has layout version 9, this program knows 2: use the version"),
        (0, 12, &[0, 0, 0, 0], "does not belong"),
        (0, 12, &[0xff; 4], "does not belong"),
        (0, 16, &[0xff; 16], "does not belong"),
        (0, 32, &[1, 0, 0], "does not belong"),
        (0, 40, &[0xff; 4], "does not belong"),
        (2, 0, b"X", "does not belong"),
        (2, 8, b"X", "does not belong"),
        (3, 0, b"X", "does not belong"),
        (5, 64, b"X", "does not belong"),
    ];
    for (file, at, bytes, expected) in cases {
        let path = &originals.0[file].0;
        File::options()
            .write(true)
            .open(path)
            .expect("there")
            .write_all_at(bytes, at)
            .expect("room");
        let what = format!("{} at {at}: {bytes:?}", FILES[file]);
        let said = trier.try_everything(&bus, "t", true, &what);
        assert!(said.contains(expected), "{what}: {said}");
        originals.restore();
    }
    // Another topic's files of the same size.
    for file in ["0.publisher", "0.control", "0.journal"] {
        fs::copy(bus.file("evict", file), bus.file("t", file)).expect("room");
        let said = trier.try_everything(&bus, "t", true, file);
        assert!(said.contains("does not belong"), "{file}: {said}");
        originals.restore();
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let bus = sound_bus();
    let originals = Originals::of(&bus, "t");
    let mut trier = Trier::new();
    type Put = fn(&Path);
    let kinds: [(&str, Put); 5] = [
        ("a link", |path| {
            let aside = path.with_extension("aside");
            let _ = fs::remove_file(&aside);
            fs::rename(path, &aside).expect("renamed");
            symlink(&aside, path).expect("a link");
        }),
        ("a broken link", |path| {
            fs::remove_file(path).expect("removed");
            symlink("/nowhere", path).expect("a link");
        }),
        ("a FIFO", |path| {
            fs::remove_file(path).expect("removed");
            let path = CString::new(path.as_os_str().as_bytes()).expect("no zero in it");
            // SAFETY: the string ends in a zero byte.
            assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o660) }, 0);
        }),
        ("a directory", |path| {
            fs::remove_file(path).expect("removed");
            fs::create_dir(path).expect("a directory");
        }),
        ("nothing", |path| fs::remove_file(path).expect("removed")),
    ];
    for (file, (path, _)) in FILES.into_iter().zip(&originals.0) {
        for (kind, put) in kinds {
            put(path);
            let what = format!("{kind} in place of {file}");
            let said = trier.try_everything(&bus, "t", true, &what);
            let expected =
                if kind == "nothing" { "does not exist" } else { "is not a regular file" };
            assert!(said.contains(expected), "{what}: {said}");
            originals.restore();
        }
    }
    // And the bus can be removed all the same.
    fs::remove_dir_all(bus.file("t", "")).expect("removed");
    symlink("/nowhere", bus.file("t", "").to_str().expect("text").trim_end_matches('/'))
        .expect("a link");
    fs::write(bus.file("file", "").to_str().expect("text").trim_end_matches('/'), b"x")
        .expect("room");
    Bus::remove(bus.name(), true).expect("removed");
}
#[test]
#[ignore = "is run by the others, as a process of its own"]
fn child() {
    if child::begin().is_none() {
        return;
    }
    while let Some(line) = child::listen() {
        let words: Vec<_> = line.split(' ').collect();
        let [bus, topic, is_ring_sound] = words[..] else { panic!("{line}") };
        child::say(&try_everything(bus, topic, is_ring_sound == "true").replace('\n', " "));
    }
}
