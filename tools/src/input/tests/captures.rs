//! Records of pcap and blocks of pcapng, in both byte orders.

use super::*;

const SECONDS: u32 = 1_700_000_000;
const SECONDS_NS: u64 = 1_700_000_000_000_000_000;

#[test]
fn pcap_is_read_in_both_byte_orders_and_units() {
    for order in [Order::Little, Order::Big] {
        for (magic, unit_ns) in [(MICROSECONDS, 1000), (NANOSECONDS, 1)] {
            let first = datagram(b"first");
            let second = datagram(b"second");
            let file = [
                pcap_header(order, magic, ETHERNET),
                pcap_record(order, SECONDS, 999_999, first.len() as u32, &first),
                pcap_record(order, u32::MAX, 1, second.len() as u32, &second),
            ]
            .concat();
            let outcome = read_whole(&file, Format::Auto);
            let expected = [
                (Some(SECONDS_NS + 999_999 * unit_ns), b"first".to_vec()),
                (Some(u64::from(u32::MAX) * 1_000_000_000 + unit_ns), b"second".to_vec()),
            ];
            assert_eq!(outcome.messages, expected);
        }
    }
}

#[test]
fn pcapng_is_read_in_both_byte_orders() {
    for order in [Order::Little, Order::Big] {
        let packet = datagram(b"enhanced");
        let length = packet.len() as u32;
        let obsolete = [
            &order.u16(1)[..],
            // Drops, which are not part of the interface number.
            &order.u16(0xFFFF),
            &order.words(&[0, 7, length, length]),
            &packet,
        ]
        .concat();
        let file = [
            section(order),
            interface(order, 147, 0, &[]),
            interface(order, 1, 0, &option(order, 9, &[9])),
            block(order, 5, &[0; 12]),
            block(order, 0x0000_BEEF, &[]),
            enhanced(order, 1, SECONDS_NS + 3, length, &packet),
            block(order, 2, &obsolete),
        ]
        .concat();
        let outcome = read_whole(&file, Format::Auto);
        let expected =
            [(Some(SECONDS_NS + 3), b"enhanced".to_vec()), (Some(7), b"enhanced".to_vec())];
        assert_eq!(outcome.messages, expected);
    }
}

#[test]
fn pcapng_times_are_counted_in_the_units_of_their_interface() {
    for order in [Order::Little, Order::Big] {
        let offset = |seconds: i64| option(order, 14, &order.u64(seconds as u64));
        let resolution = |value| option(order, 9, &[value]);
        let cases = [
            (vec![], 1_500_000, Some(1_500_000_000)),
            (resolution(9), u64::MAX, Some(u64::MAX)),
            (resolution(0), 2, Some(2_000_000_000)),
            (resolution(12), 1_999, Some(1)),
            (resolution(0x80 | 10), 1_536, Some(1_500_000_000)),
            (resolution(0x80 | 63), 1 << 62, Some(500_000_000)),
            (offset(5), 1, Some(5_000_001_000)),
            ([resolution(9), offset(-2)].concat(), 2_000_000_001, Some(1)),
            // Before the epoch, and beyond what 64 bits hold.
            ([resolution(9), offset(-2)].concat(), 1_999_999_999, None),
            (offset(i64::MAX), 0, None),
            (offset(i64::MIN), u64::MAX, None),
            (resolution(0), u64::MAX, None),
        ];
        for (options, ticks, expected) in cases {
            let packet = datagram(b"x");
            let file = [
                section(order),
                interface(order, 1, 0, &options),
                enhanced(order, 0, ticks, packet.len() as u32, &packet),
            ]
            .concat();
            let outcome = read_whole(&file, Format::Auto);
            assert_eq!(outcome.messages, [(expected, b"x".to_vec())]);
        }
    }
}

#[test]
fn simple_packets_have_no_time_and_the_snap_length_of_the_first_interface() {
    for order in [Order::Little, Order::Big] {
        let packet = datagram(b"simple");
        let length = packet.len() as u32;
        let simple = |captured: usize| {
            block(order, 3, &[&order.u32(length)[..], &packet[..captured]].concat())
        };
        let file = |snaplen, captured| {
            [section(order), interface(order, 1, snaplen, &[]), simple(captured)].concat()
        };
        for snaplen in [0, length, 65_535] {
            let outcome = read_whole(&file(snaplen, packet.len()), Format::Auto);
            assert_eq!(outcome.messages, [(None, b"simple".to_vec())]);
        }
        let outcome = read_whole(&file(length - 1, packet.len() - 1), Format::Auto);
        assert_eq!((outcome.messages.len(), outcome.skipped.cut), (0, 1));
        // Says that it is longer than its block.
        let outcome = read(&file(0, packet.len() - 4), Format::Auto);
        assert!(matches!(outcome.error, Some(InputError::Damaged { position: 48, .. })));
    }
}

#[test]
fn a_new_section_has_its_own_byte_order_and_interfaces() {
    let packet = datagram(b"x");
    let length = packet.len() as u32;
    let part = |order, resolution| {
        let options = option(order, 9, &[resolution]);
        let one = [
            section(order),
            interface(order, 1, 0, &options),
            enhanced(order, 0, 1, length, &packet),
        ];
        one.concat()
    };
    let file = [part(Order::Little, 3), part(Order::Big, 6), part(Order::Little, 9)].concat();
    let outcome = read_whole(&file, Format::Auto);
    let times: Vec<_> = outcome.messages.iter().map(|(timestamp_ns, _)| *timestamp_ns).collect();
    assert_eq!(times, [Some(1_000_000), Some(1_000), Some(1)]);

    let orphan = enhanced(Order::Big, 0, 1, length, &packet);
    let file = [part(Order::Little, 3), section(Order::Big), orphan].concat();
    let outcome = read(&file, Format::Auto);
    assert_eq!(outcome.messages.len(), 1);
    assert!(matches!(outcome.error, Some(InputError::Damaged { .. })));
}
