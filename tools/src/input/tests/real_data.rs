//! Real files and what is known about them. Skipped, with a word, where they are not at hand.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::Value;

use super::*;

fn data(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
    if path.exists() {
        Some(path)
    } else {
        // Not by `eprintln!`, which is not shown of a test that passes.
        let _ = writeln!(io::stderr(), "skipped: {} is not there", path.display());
        None
    }
}

fn golden(path: &str) -> Option<Value> {
    let text = fs::read_to_string(data(path)?).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

fn read_file(path: &Path) -> Outcome {
    let outcome = drain(Input::open(path, Format::Auto).unwrap());
    assert!(outcome.error.is_none(), "{}: {}", path.display(), outcome.error.unwrap());
    outcome
}

#[test]
fn a_compressed_session_has_all_its_datagrams() {
    let (Some(path), Some(golden)) = (data("iex/TOPS16.pcap.gz"), golden("golden-tops16.json"))
    else {
        return;
    };
    let outcome = read_file(&path);
    let count = |name: &str| golden["packets"][name].as_u64().unwrap();
    assert_eq!(outcome.messages.len() as u64, count("total"));
    assert_eq!(outcome.skipped, Skipped::default());
    assert_eq!(outcome.messages[0].0, Some(count("first_capture_ns")));
    assert_eq!(outcome.messages.last().unwrap().0, Some(count("last_capture_ns")));

    const SEGMENT_HEADER_BYTES: usize = 40;
    const COUNT_AT: usize = 14;
    let payload_bytes: usize =
        outcome.messages.iter().map(|(_, segment)| segment.len() - SEGMENT_HEADER_BYTES).sum();
    assert_eq!(payload_bytes as u64, golden["session"]["total_payload_bytes"].as_u64().unwrap());
    let messages: u64 = outcome
        .messages
        .iter()
        .map(|(_, segment)| {
            u64::from(u16::from_le_bytes([segment[COUNT_AT], segment[COUNT_AT + 1]]))
        })
        .sum();
    assert_eq!(messages, golden["messages"]["total"].as_u64().unwrap());
}

#[test]
fn a_length_prefixed_file_has_all_its_messages() {
    let (Some(path), Some(golden)) = (data("itch/sample.itch"), golden("golden-itch.json")) else {
        return;
    };
    let outcome = read_file(&path);
    let golden = &golden["sample.itch"];
    assert_eq!(outcome.messages.len() as u64, golden["messages"].as_u64().unwrap());
    for (kind, count) in golden["by_type"].as_object().unwrap() {
        let found =
            outcome.payloads().iter().filter(|message| message[..1] == *kind.as_bytes()).count();
        assert_eq!(found as u64, count.as_u64().unwrap(), "messages of type {kind}");
    }
}

/// The files below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The number of records in a little-endian pcap.
fn count_records(file: &[u8]) -> u64 {
    let mut rest = &file[24..];
    let mut records = 0;
    while !rest.is_empty() {
        let captured = u32::from_le_bytes(rest[8..12].try_into().unwrap());
        rest = &rest[16 + captured as usize..];
        records += 1;
    }
    records
}

#[test]
fn every_packet_of_small_captures_is_delivered_or_counted() {
    let Some(directory) = data("omi") else {
        return;
    };
    let (mut captures, mut delivered) = (0, 0);
    for path in files(&directory) {
        if path.extension().is_none_or(|extension| extension != "pcap") {
            continue;
        }
        let outcome = read_file(&path);
        let messages = outcome.messages.len() as u64;
        let skipped = outcome.skipped;
        let records = count_records(&fs::read(&path).unwrap());
        assert_eq!(messages + skipped.total(), records, "{}", path.display());
        assert_eq!(skipped.total(), skipped.not_udp, "{}: {skipped}", path.display());
        captures += 1;
        delivered += messages;
    }
    assert!(captures > 100 && delivered > 100, "{delivered} datagrams in {captures} captures");
}

#[test]
fn capture_times_are_those_known() {
    let Some(golden) = golden("golden-omi-iex-cme.json") else {
        return;
    };
    let mut checked = 0;
    for file in golden["iex"].as_array().unwrap() {
        let Some(path) = data(file["file"].as_str().unwrap()) else {
            return;
        };
        let times = read_file(&path).messages.into_iter().map(|(timestamp_ns, _)| timestamp_ns);
        let packets = file["packets"].as_array().unwrap();
        let known: Vec<_> = packets.iter().map(|packet| packet["capture_ns"].as_u64()).collect();
        assert_eq!(times.collect::<Vec<_>>(), known, "{}", path.display());
        checked += known.len();
    }
    assert!(checked > 0);
}
