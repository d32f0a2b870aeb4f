//! Which packets carry a message, and where it lies in them.

use super::*;

/// Reads a capture of one packet, of which only the first `captured` bytes were kept.
fn read_packet(link_type: u32, packet: &[u8], captured: usize) -> Outcome {
    let record = pcap_record(Order::Little, 1, 0, packet.len() as u32, &packet[..captured]);
    let file = [pcap_header(Order::Little, MICROSECONDS, link_type), record].concat();
    read_whole(&file, Format::Auto)
}

#[track_caller]
fn assert_delivered(link_type: u32, packet: &[u8], payload: &[u8]) {
    let outcome = read_packet(link_type, packet, packet.len());
    assert_eq!(outcome.payloads(), [payload], "{}", outcome.skipped);
    assert_eq!(outcome.skipped.total(), 0);
}

#[track_caller]
fn assert_skipped(packet: &[u8], expected: Skipped) {
    let outcome = read_packet(ETHERNET, packet, packet.len());
    assert!(outcome.messages.is_empty());
    assert_eq!(outcome.skipped, expected);
    assert_eq!(expected.total(), 1);
}

const NOT_UDP: Skipped =
    Skipped { not_udp: 1, fragments: 0, cut: 0, malformed: 0, unknown_link: 0 };
const FRAGMENT: Skipped =
    Skipped { not_udp: 0, fragments: 1, cut: 0, malformed: 0, unknown_link: 0 };
const CUT: Skipped = Skipped { not_udp: 0, fragments: 0, cut: 1, malformed: 0, unknown_link: 0 };
const MALFORMED: Skipped =
    Skipped { not_udp: 0, fragments: 0, cut: 0, malformed: 1, unknown_link: 0 };
const UNKNOWN_LINK: Skipped =
    Skipped { not_udp: 0, fragments: 0, cut: 0, malformed: 0, unknown_link: 1 };

#[test]
fn vlan_tags_are_passed_over() {
    let ip = ipv4(UDP, 0, &udp(b"tagged"));
    for tags in [&[][..], &[0x8100], &[0x88A8, 0x8100], &[0x9100, 0x8100], &[0x8100; 3]] {
        assert_delivered(ETHERNET, &ethernet(tags, IPV4, &ip), b"tagged");
    }
}

#[test]
fn ipv6_and_ip_options_are_passed_over() {
    assert_delivered(ETHERNET, &ethernet(&[], IPV6, &ipv6(UDP, &udp(b"six"))), b"six");
    let hop_by_hop = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &udp(b"hop")].concat();
    assert_delivered(ETHERNET, &ethernet(&[], IPV6, &ipv6(0, &hop_by_hop)), b"hop");

    let mut with_options = ipv4(UDP, 0, &[&[1, 1, 1, 0][..], &udp(b"option")].concat());
    with_options[0] = 0x46;
    assert_delivered(ETHERNET, &ethernet(&[], IPV4, &with_options), b"option");
}

#[test]
fn padding_of_the_frame_is_not_payload() {
    for padding in [0, 1, 19, 46] {
        let mut packet = datagram(b"x");
        packet.resize(packet.len() + padding, 0xEE);
        assert_delivered(ETHERNET, &packet, b"x");
    }
    let mut within_ip = ipv4(UDP, 0, &[udp(b"short"), vec![0xEE; 5]].concat());
    assert_delivered(ETHERNET, &ethernet(&[], IPV4, &within_ip), b"short");
    // Left at 0 by cards that split packets.
    within_ip[2..4].fill(0);
    assert_delivered(ETHERNET, &ethernet(&[], IPV4, &within_ip), b"short");
    assert_delivered(ETHERNET, &datagram(b""), b"");
}

#[test]
fn other_kinds_of_link_are_understood() {
    let ip = ipv4(UDP, 0, &udp(b"linked"));
    assert_delivered(0, &[&[2, 0, 0, 0], &ip[..]].concat(), b"linked");
    assert_delivered(101, &ip, b"linked");
    assert_delivered(101, &ipv6(UDP, &udp(b"linked")), b"linked");
    let cooked = [&[0; 14][..], &IPV4.to_be_bytes(), &ip].concat();
    assert_delivered(113, &cooked, b"linked");
    let cooked_2 = [&IPV4.to_be_bytes()[..], &[0; 18], &ip].concat();
    assert_delivered(276, &cooked_2, b"linked");
    // The high bits tell of a frame check sequence.
    assert_delivered(0x5400_0001, &datagram(b"linked"), b"linked");

    let outcome = read_packet(147, &ip, ip.len());
    assert_eq!((outcome.messages.len(), outcome.skipped), (0, UNKNOWN_LINK));
}

#[test]
fn other_protocols_are_counted() {
    let tcp = [&[0; 12][..], &[0x50], &[0; 7], b"stream"].concat();
    assert_skipped(&ethernet(&[], IPV4, &ipv4(TCP, 0, &tcp)), NOT_UDP);
    assert_skipped(&ethernet(&[], IPV4, &ipv4(89, 0, b"ospf")), NOT_UDP);
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[0; 20]].concat();
    assert_skipped(&ethernet(&[], 0x0806, &arp), NOT_UDP);
    // An 802.3 length instead of a type.
    assert_skipped(&ethernet(&[], 38, &[0x42; 38]), NOT_UDP);
}

#[test]
fn fragments_are_counted_and_not_read() {
    const MORE: u16 = 0x2000;
    // Looks like a datagram, whichever part it is.
    let part = udp(b"part");
    for fragment in [MORE, MORE | 3, 3] {
        assert_skipped(&ethernet(&[], IPV4, &ipv4(UDP, fragment, &part)), FRAGMENT);
    }
    let header = [&[UDP, 0, 0, 1, 0, 0, 0, 9][..], &part].concat();
    assert_skipped(&ethernet(&[], IPV6, &ipv6(44, &header)), FRAGMENT);
    // "Do not fragment" is no fragment.
    assert_delivered(ETHERNET, &ethernet(&[], IPV4, &ipv4(UDP, 0x4000, &part)), b"part");
}

#[test]
fn lengths_that_the_packet_does_not_have_are_counted() {
    const UDP_LENGTH_AT: usize = 14 + 20 + 4;
    const IP_LENGTH_AT: usize = 14 + 2;
    let with = |at: usize, length: u16| {
        let mut packet = datagram(b"payload");
        packet.resize(packet.len() + 10, 0xEE);
        packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
        packet
    };
    for length in [0, 7, 16, 17, u16::MAX] {
        assert_skipped(&with(UDP_LENGTH_AT, length), MALFORMED);
    }
    for length in [1, 19, 20, 27, 34, 46, u16::MAX] {
        assert_skipped(&with(IP_LENGTH_AT, length), MALFORMED);
    }
    let mut ip = ipv6(UDP, &udp(b"payload"));
    ip[5] += 1;
    assert_skipped(&ethernet(&[], IPV6, &ip), MALFORMED);
    // A version that does not exist, and a header shorter than there can be.
    for version in [0x55, 0x44] {
        let mut packet = datagram(b"payload");
        packet[14] = version;
        assert_skipped(&packet, MALFORMED);
    }
}

#[test]
fn packets_cut_by_the_capture_are_counted() {
    let mut packet = datagram(b"payload");
    let whole = packet.len();
    packet.resize(whole + 10, 0xEE);
    for captured in 0..whole {
        let outcome = read_packet(ETHERNET, &packet, captured);
        assert!(outcome.messages.is_empty());
        assert_eq!(outcome.skipped, CUT, "{captured} bytes captured");
    }
    // Only padding is missing.
    for captured in whole..=packet.len() {
        assert_eq!(read_packet(ETHERNET, &packet, captured).payloads(), [b"payload"]);
    }
}

#[test]
fn all_counters_are_printed() {
    let skipped = Skipped { not_udp: 11, fragments: 12, cut: 13, malformed: 14, unknown_link: 15 };
    assert_eq!(skipped.total(), 65);
    for count in 11..=15 {
        assert!(skipped.to_string().contains(&count.to_string()), "{skipped}");
    }
}
