//! Packets of pcap and pcapng captures: change here which records and blocks are understood.
//!
//! Records are cut out of the source here, so that a length is checked before memory is taken and
//! an error can name its byte; `pcap-parser` reads their fields.

use std::ops::Range;

use pcap_parser::pcapng::{
    Block, InterfaceDescriptionBlock, OptionCode, SectionHeaderBlock, parse_block_be,
    parse_block_le,
};
use pcap_parser::{PcapHeader, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_header};

use super::source::Source;
use super::{InputError, RECORD_BYTES_MAX};

/// A captured packet: its bytes lie in the buffer that was read into.
pub(super) struct Packet {
    pub(super) timestamp_ns: Option<u64>,
    pub(super) link_type: u32,
    pub(super) data: Range<usize>,
    /// Its length on the wire; the capture may have kept less.
    pub(super) original_bytes: usize,
}

/// A classic pcap file.
#[derive(Default)]
pub(super) struct Pcap {
    header: Option<PcapHeader>,
}

const PCAP_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;

impl Pcap {
    /// Reads the next packet into `buffer`.
    pub(super) fn next_packet(
        &mut self,
        source: &mut Source,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Packet>, InputError> {
        let header = match &self.header {
            Some(header) => header,
            None => self.header.insert(read_pcap_header(source, buffer)?),
        };
        let start = source.position();
        buffer.clear();
        match source.append(RECORD_HEADER_BYTES, buffer)? {
            0 => return Ok(None),
            RECORD_HEADER_BYTES => (),
            _ => return Err(source.truncated(start)),
        }
        let captured_bytes = u32_at(buffer, 8, header.is_bigendian()) as usize;
        if captured_bytes > RECORD_BYTES_MAX {
            return Err(InputError::TooLong {
                position: start,
                length_bytes: captured_bytes as u64,
            });
        }
        source.append_all(start, captured_bytes, buffer)?;

        let parse = if header.is_bigendian() { parse_pcap_frame_be } else { parse_pcap_frame };
        let (_, frame) = parse(buffer).map_err(|_| InputError::Damaged {
            position: start,
            what: "unreadable packet record",
        })?;
        let unit_ns = if header.is_nanosecond_precision() { 1 } else { 1000 };
        Ok(Some(Packet {
            timestamp_ns: Some(
                u64::from(frame.ts_sec) * NS_PER_S + u64::from(frame.ts_usec) * unit_ns,
            ),
            // The high bits tell of a frame check sequence.
            link_type: header.network.0 as u32 & 0xFFFF,
            data: RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + captured_bytes,
            original_bytes: frame.origlen as usize,
        }))
    }
}

fn read_pcap_header(source: &mut Source, buffer: &mut Vec<u8>) -> Result<PcapHeader, InputError> {
    buffer.clear();
    source.append_all(0, PCAP_HEADER_BYTES, buffer)?;
    match parse_pcap_header(buffer) {
        Ok((_, header)) if header.version_major == 2 => Ok(header),
        _ => Err(InputError::Damaged { position: 0, what: "not a pcap header of version 2" }),
    }
}

/// A pcapng file.
#[derive(Default)]
pub(super) struct PcapNg {
    big_endian: bool,
    interfaces: Vec<Interface>,
}

/// What packets of one interface of the section share.
struct Interface {
    link_type: u32,
    snap_bytes: usize,
    ticks_per_s: u64,
    offset_s: i64,
}

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
/// Type and length at the start, the length again at the end.
const BLOCK_FRAME_BYTES: usize = 12;
const ENHANCED_PACKET_DATA_AT: usize = 28;
const SIMPLE_PACKET_DATA_AT: usize = 12;
/// A packet and its options, such as comments.
const BLOCK_BYTES_MAX: usize = RECORD_BYTES_MAX + 64 * 1024;
const INTERFACES_MAX: usize = 1024;
const NS_PER_S: u64 = 1_000_000_000;

impl PcapNg {
    /// Reads the next packet into `buffer`, passing over blocks that hold none.
    pub(super) fn next_packet(
        &mut self,
        source: &mut Source,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Packet>, InputError> {
        loop {
            let start = source.position();
            let damaged = |what| InputError::Damaged { position: start, what };
            let Some(block_type) = self.read_block(source, buffer)? else {
                return Ok(None);
            };
            if block_type == OBSOLETE_PACKET {
                self.make_enhanced(buffer);
            }
            let parse = if self.big_endian { parse_block_be } else { parse_block_le };
            let (_, block) = parse(buffer).map_err(|_| damaged("unreadable pcapng block"))?;
            match block {
                Block::SectionHeader(header) => {
                    check_version(&header).map_err(damaged)?;
                    self.interfaces.clear();
                }
                Block::InterfaceDescription(description) => {
                    if self.interfaces.len() == INTERFACES_MAX {
                        return Err(damaged("more than 1024 interfaces"));
                    }
                    let interface = Interface::new(&description, self.big_endian);
                    self.interfaces.push(interface.map_err(damaged)?);
                }
                Block::EnhancedPacket(packet) => {
                    let interface = self.interface(packet.if_id).map_err(damaged)?;
                    let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                    let data_end = ENHANCED_PACKET_DATA_AT + packet.caplen as usize;
                    return Ok(Some(Packet {
                        timestamp_ns: interface.timestamp_ns(ticks),
                        link_type: interface.link_type,
                        data: ENHANCED_PACKET_DATA_AT..data_end,
                        original_bytes: packet.origlen as usize,
                    }));
                }
                Block::SimplePacket(packet) => {
                    let interface = self.interface(0).map_err(damaged)?;
                    let original_bytes = packet.origlen as usize;
                    let captured_bytes = original_bytes.min(interface.snap_bytes);
                    if captured_bytes > packet.data.len() {
                        return Err(damaged("a packet is longer than its block"));
                    }
                    return Ok(Some(Packet {
                        timestamp_ns: None,
                        link_type: interface.link_type,
                        data: SIMPLE_PACKET_DATA_AT..SIMPLE_PACKET_DATA_AT + captured_bytes,
                        original_bytes,
                    }));
                }
                _ => (),
            }
        }
    }

    /// Reads the next block that matters here into `buffer`, whole, and says its type.
    fn read_block(
        &mut self,
        source: &mut Source,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<u32>, InputError> {
        loop {
            let start = source.position();
            let damaged = |what| InputError::Damaged { position: start, what };
            buffer.clear();
            // The shortest block is as long as the start of a section header with its byte order.
            match source.append(BLOCK_FRAME_BYTES, buffer)? {
                0 => return Ok(None),
                BLOCK_FRAME_BYTES => (),
                _ => return Err(source.truncated(start)),
            }
            // The type of a section header reads the same in both byte orders.
            let block_type = u32_at(buffer, 0, self.big_endian);
            if block_type == SECTION_HEADER {
                self.big_endian = u32_at(buffer, 8, true) == BYTE_ORDER_MAGIC;
                if u32_at(buffer, 8, self.big_endian) != BYTE_ORDER_MAGIC {
                    return Err(damaged("a section header without byte order"));
                }
            }
            let length = u32_at(buffer, 4, self.big_endian) as usize;
            if length < BLOCK_FRAME_BYTES || !length.is_multiple_of(4) {
                return Err(damaged("a block length that is too small or no multiple of 4"));
            }
            let wanted = matches!(
                block_type,
                SECTION_HEADER
                    | INTERFACE_DESCRIPTION
                    | OBSOLETE_PACKET
                    | SIMPLE_PACKET
                    | ENHANCED_PACKET
            );
            let rest = length - BLOCK_FRAME_BYTES;
            if wanted {
                if length > BLOCK_BYTES_MAX {
                    return Err(InputError::TooLong {
                        position: start,
                        length_bytes: length as u64,
                    });
                }
                source.append_all(start, rest, buffer)?;
            } else if rest > 0 {
                // The last bytes are kept: they repeat the length.
                let middle = rest as u64 - 4;
                if source.discard(middle)? < middle {
                    return Err(source.truncated(start));
                }
                source.append_all(start, 4, buffer)?;
            }
            if u32_at(buffer, buffer.len() - 4, self.big_endian) as usize != length {
                return Err(damaged("a block whose two lengths differ"));
            }
            if wanted {
                return Ok(Some(block_type));
            }
        }
    }

    /// Turns an obsolete packet block into an enhanced one: they differ in the type and in the
    /// interface number, which is 16 bits wide and followed by a count of drops.
    fn make_enhanced(&self, buffer: &mut [u8]) {
        if self.big_endian {
            buffer[..4].copy_from_slice(&ENHANCED_PACKET.to_be_bytes());
            buffer.copy_within(8..10, 10);
            buffer[8..10].fill(0);
        } else {
            buffer[..4].copy_from_slice(&ENHANCED_PACKET.to_le_bytes());
            buffer[10..12].fill(0);
        }
    }

    fn interface(&self, number: u32) -> Result<&Interface, &'static str> {
        self.interfaces
            .get(number as usize)
            .ok_or("a packet of an interface that was not described")
    }
}

impl Interface {
    fn new(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Result<Self, &'static str> {
        // The parser reads the offset as little-endian and refuses powers of two, so both come from
        // the raw options.
        let option = |code| block.options.iter().find(|option| option.code == code);
        let resolution = option(OptionCode::IfTsresol).and_then(|option| option.value.first());
        let exponent = resolution.map_or(6, |resolution| u32::from(resolution & 0x7F));
        let base = if resolution.is_some_and(|resolution| resolution & 0x80 != 0) { 2 } else { 10 };
        let offset = option(OptionCode::IfTsoffset).and_then(|option| option.value.first_chunk());
        Ok(Self {
            link_type: block.linktype.0 as u32,
            snap_bytes: if block.snaplen == 0 { usize::MAX } else { block.snaplen as usize },
            ticks_per_s: u64::checked_pow(base, exponent)
                .ok_or("an interface with an impossible time resolution")?,
            offset_s: offset.map_or(0, |bytes| {
                if big_endian { i64::from_be_bytes(*bytes) } else { i64::from_le_bytes(*bytes) }
            }),
        })
    }

    /// `None` when the time does not lie within what 64 bits of ns since the epoch can tell.
    fn timestamp_ns(&self, ticks: u64) -> Option<u64> {
        let since_offset_ns =
            u128::from(ticks) * u128::from(NS_PER_S) / u128::from(self.ticks_per_s);
        let offset_ns = i128::from(self.offset_s) * i128::from(NS_PER_S);
        u64::try_from(i128::try_from(since_offset_ns).ok()? + offset_ns).ok()
    }
}

fn check_version(header: &SectionHeaderBlock<'_>) -> Result<(), &'static str> {
    if header.major_version == 1 { Ok(()) } else { Err("a section not of pcapng version 1") }
}

fn u32_at(buffer: &[u8], at: usize, big_endian: bool) -> u32 {
    let bytes = [buffer[at], buffer[at + 1], buffer[at + 2], buffer[at + 3]];
    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}
