//! From a captured packet down to its UDP payload: change here which packets carry messages.

use std::fmt;
use std::ops::Range;

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, LenSource, TransportSlice, ip_number};

/// What a capture held besides the delivered datagrams, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Whole packets of other protocols: TCP, ICMP, ARP and so on.
    pub(crate) not_udp: u64,
    /// IP fragments, which are not put together.
    pub(crate) fragments: u64,
    /// Packets of which the capture kept only the beginning (its snap length).
    pub(crate) cut: u64,
    /// Packets with an unreadable header, or a length that the packet does not have.
    pub(crate) malformed: u64,
    /// Packets of a kind of link that is not known here.
    pub(crate) unknown_link: u64,
}

/// Why a packet is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    NotUdp,
    Fragment,
    Cut,
    Malformed,
    UnknownLink,
}

impl Skipped {
    /// All skipped packets.
    pub(crate) fn total(&self) -> u64 {
        let Self { not_udp, fragments, cut, malformed, unknown_link } = self;
        not_udp + fragments + cut + malformed + unknown_link
    }

    pub(super) fn count(&mut self, reason: Reason) {
        let counter = match reason {
            Reason::NotUdp => &mut self.not_udp,
            Reason::Fragment => &mut self.fragments,
            Reason::Cut => &mut self.cut,
            Reason::Malformed => &mut self.malformed,
            Reason::UnknownLink => &mut self.unknown_link,
        };
        *counter += 1;
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { not_udp, fragments, cut, malformed, unknown_link } = self;
        write!(
            f,
            "{not_udp} not UDP, {fragments} IP fragments, {cut} cut by the capture, \
             {malformed} malformed, {unknown_link} of an unknown link type"
        )
    }
}

/// Where the UDP payload lies in `packet`. `cut` says that the capture did not keep all of it.
///
/// Checksums are not looked at: hosts that leave them to the network card capture their own packets
/// without, and anonymised captures have stale ones.
pub(super) fn payload(link_type: u32, packet: &[u8], cut: bool) -> Result<Range<usize>, Reason> {
    let udp = slice(link_type, packet).and_then(|sliced| udp_payload(&sliced));
    match udp {
        Ok(payload) => {
            let start = payload.as_ptr().addr() - packet.as_ptr().addr();
            Ok(start..start + payload.len())
        }
        // What is missing is only missing from the capture.
        Err(Reason::Malformed) if cut => Err(Reason::Cut),
        Err(reason) => Err(reason),
    }
}

fn slice(link_type: u32, packet: &[u8]) -> Result<LaxSlicedPacket<'_>, Reason> {
    let ether = |ether_type_at: usize, header_bytes: usize| {
        let ether_type = packet.get(ether_type_at..ether_type_at + 2).ok_or(Reason::Malformed)?;
        let payload = packet.get(header_bytes..).ok_or(Reason::Malformed)?;
        let ether_type = EtherType(u16::from_be_bytes([ether_type[0], ether_type[1]]));
        Ok(LaxSlicedPacket::from_ether_type(ether_type, payload))
    };
    let ip = |header_bytes: usize| {
        let payload = packet.get(header_bytes..).ok_or(Reason::Malformed)?;
        LaxSlicedPacket::from_ip(payload).map_err(|_| Reason::Malformed)
    };
    match link_type {
        // BSD loopback: an address family, whose numbers differ between systems.
        0 => ip(4),
        1 => LaxSlicedPacket::from_ethernet(packet).map_err(|_| Reason::Malformed),
        101 => ip(0),
        // Linux "any" device, versions 1 and 2.
        113 => ether(14, 16),
        276 => ether(0, 20),
        _ => Err(Reason::UnknownLink),
    }
}

/// The payload as the IP and UDP lengths have it; padding of the frame lies beyond them.
fn udp_payload<'a>(packet: &LaxSlicedPacket<'a>) -> Result<&'a [u8], Reason> {
    let Some(ip) = packet.ip_payload() else {
        let unreadable = packet.stop_err.is_some();
        return Err(if unreadable { Reason::Malformed } else { Reason::NotUdp });
    };
    if ip.fragmented {
        return Err(Reason::Fragment);
    }
    if ip.ip_number != ip_number::UDP {
        return Err(Reason::NotUdp);
    }
    // A total length of 0 is left by cards that split packets for the host. Any other length that
    // the parser could not use is wrong.
    let unusable = matches!(&packet.net, Some(LaxNetSlice::Ipv4(ipv4))
        if ip.len_source == LenSource::Slice && ipv4.header().total_len() != 0);
    if ip.incomplete || unusable {
        return Err(Reason::Malformed);
    }
    match &packet.transport {
        // The parser takes what there is when the UDP length cannot be right.
        Some(TransportSlice::Udp(udp)) if udp.payload_len_source() == LenSource::UdpHeaderLen => {
            Ok(udp.payload())
        }
        _ => Err(Reason::Malformed),
    }
}
