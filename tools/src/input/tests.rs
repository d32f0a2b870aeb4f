//! Reads hand-made sources of every format. The builders here write captures byte by byte, so that
//! they share no code with what reads them.

mod captures;
mod damage;
mod packets;
mod real_data;
mod text;

use std::io::{BufReader, Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// What came out of a source: messages with their times, the error that ended it, packets skipped.
struct Outcome {
    messages: Vec<(Option<u64>, Vec<u8>)>,
    error: Option<InputError>,
    skipped: Skipped,
}

impl Outcome {
    fn payloads(&self) -> Vec<&[u8]> {
        self.messages.iter().map(|(_, payload)| &payload[..]).collect()
    }
}

fn read(bytes: &[u8], format: Format) -> Outcome {
    // A small buffer, so that records lie across its ends.
    let reader = BufReader::with_capacity(7, Cursor::new(bytes.to_vec()));
    match Input::from_reader(Box::new(reader), format) {
        Ok(input) => drain(input),
        Err(error) => {
            Outcome { messages: Vec::new(), error: Some(error), skipped: Skipped::default() }
        }
    }
}

fn drain(mut input: Input) -> Outcome {
    let mut messages = Vec::new();
    let error = loop {
        match input.next_record() {
            Ok(Some(record)) => messages.push((record.timestamp_ns, record.payload.to_vec())),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(input.next_record(), Ok(None)), "an input that has ended stays ended");
    Outcome { messages, error, skipped: input.skipped() }
}

/// Reads `bytes`, which must not be damaged.
fn read_whole(bytes: &[u8], format: Format) -> Outcome {
    let outcome = read(bytes, format);
    assert!(outcome.error.is_none(), "{}", outcome.error.unwrap());
    outcome
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn length_prefixed(messages: &[&[u8]]) -> Vec<u8> {
    let record =
        |message: &&[u8]| [&u16::try_from(message.len()).unwrap().to_be_bytes(), *message].concat();
    messages.iter().flat_map(record).collect()
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let mut bytes = vec![0x30, 0x39, 0x40, 0x02];
    bytes.extend_from_slice(&length.to_be_bytes());
    // A checksum that cannot be right.
    bytes.extend_from_slice(&[0xBA, 0xD0]);
    bytes.extend_from_slice(payload);
    bytes
}

const UDP: u8 = 17;
const TCP: u8 = 6;

fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap();
    let mut bytes = vec![0x45, 0];
    bytes.extend_from_slice(&total.to_be_bytes());
    bytes.extend_from_slice(&[0x12, 0x34]);
    bytes.extend_from_slice(&fragment.to_be_bytes());
    bytes.extend_from_slice(&[64, protocol, 0xBA, 0xD1, 10, 0, 0, 1, 239, 1, 2, 3]);
    bytes.extend_from_slice(payload);
    bytes
}

fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&[next_header, 64]);
    bytes.extend_from_slice(&[0x11; 32]);
    bytes.extend_from_slice(payload);
    bytes
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;

fn ethernet(tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x01, 0, 0x5E, 1, 2, 3, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        bytes.extend_from_slice(&tag.to_be_bytes());
        bytes.extend_from_slice(&[0x20, 0x07]);
    }
    bytes.extend_from_slice(&ether_type.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The plainest packet with `payload`.
fn datagram(payload: &[u8]) -> Vec<u8> {
    ethernet(&[], IPV4, &ipv4(UDP, 0, &udp(payload)))
}

/// Writes numbers in the byte order of a capture.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn u64(self, value: u64) -> [u8; 8] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn words(self, values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|value| self.u32(*value)).collect()
    }
}

const MICROSECONDS: u32 = 0xA1B2_C3D4;
const NANOSECONDS: u32 = 0xA1B2_3C4D;
const ETHERNET: u32 = 1;

fn pcap_header(order: Order, magic: u32, link_type: u32) -> Vec<u8> {
    let version = [order.u16(2), order.u16(4)].concat();
    [&order.u32(magic)[..], &version, &order.words(&[0, 0, 65_535, link_type])].concat()
}

fn pcap_record(order: Order, seconds: u32, fraction: u32, original: u32, data: &[u8]) -> Vec<u8> {
    let captured = u32::try_from(data.len()).unwrap();
    [&order.words(&[seconds, fraction, captured, original])[..], data].concat()
}

/// A little-endian pcap of whole packets.
fn pcap(link_type: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = pcap_header(Order::Little, MICROSECONDS, link_type);
    for packet in packets {
        let original = packet.len() as u32;
        file.extend(pcap_record(Order::Little, 1_700_000_000, 5, original, packet));
    }
    file
}

fn block(order: Order, block_type: u32, body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
    let length = order.u32((12 + body.len() + padding.len()) as u32);
    [&order.u32(block_type)[..], &length, body, &padding, &length].concat()
}

fn section(order: Order) -> Vec<u8> {
    let version = [order.u16(1), order.u16(0)].concat();
    let body = [&order.u32(0x1A2B_3C4D)[..], &version, &order.u64(u64::MAX)].concat();
    block(order, 0x0A0D_0D0A, &body)
}

fn interface(order: Order, link_type: u16, snaplen: u32, options: &[u8]) -> Vec<u8> {
    let fixed = [&order.u16(link_type)[..], &[0, 0], &order.u32(snaplen)].concat();
    block(order, 1, &[&fixed, options].concat())
}

fn option(order: Order, code: u16, value: &[u8]) -> Vec<u8> {
    let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
    [&order.u16(code)[..], &order.u16(value.len() as u16), value, &padding].concat()
}

fn enhanced(order: Order, interface: u32, ticks: u64, original: u32, data: &[u8]) -> Vec<u8> {
    let captured = u32::try_from(data.len()).unwrap();
    let fixed = [interface, (ticks >> 32) as u32, ticks as u32, captured, original];
    let padding = vec![0; data.len().next_multiple_of(4) - data.len()];
    // A comment follows the packet.
    let comment = option(order, 1, b"seen");
    block(order, 6, &[&order.words(&fixed), data, &padding, &comment[..]].concat())
}
