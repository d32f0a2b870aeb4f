//! Sources that are cut, damaged or made to do harm: an error, the whole messages before it, and
//! never a panic or an endless loop.

use super::*;

/// Cuts `file` at every byte: the messages must be the first ones of the whole, and where it ends
/// inside a record this is said, with all bytes accounted for.
fn assert_survives_cuts(file: &[u8], whole_ends: &[usize]) {
    let whole = read_whole(file, Format::Auto);
    for cut in 0..=file.len() {
        let outcome = read(&file[..cut], Format::Auto);
        assert!(whole.messages.starts_with(&outcome.messages), "cut at {cut}");
        match outcome.error {
            None => assert!(whole_ends.contains(&cut), "no error for a cut at {cut}"),
            Some(InputError::Truncated { position, leftover_bytes }) => {
                assert!(!whole_ends.contains(&cut), "an error for a cut at {cut}");
                assert_eq!(position + leftover_bytes, cut as u64);
                assert!(whole_ends.contains(&(position as usize)));
            }
            Some(error) => panic!("cut at {cut}: {error}"),
        }
    }
}

/// Where the parts of a file end, and 0: an empty file has no unfinished record.
fn ends(parts: &[Vec<u8>]) -> Vec<usize> {
    (0..=parts.len()).map(|count| parts[..count].concat().len()).collect()
}

#[test]
fn length_prefixed_files_may_be_cut_anywhere() {
    let parts: Vec<_> = [&b"first"[..], b"2", &[3; 300]]
        .iter()
        .map(|message| length_prefixed(&[message]))
        .collect();
    assert_survives_cuts(&parts.concat(), &ends(&parts));
}

fn small_pcap(order: Order) -> Vec<Vec<u8>> {
    let packet = datagram(b"payload");
    let record = pcap_record(order, 1, 2, packet.len() as u32, &packet);
    let other = pcap_record(order, 1, 3, 20, &ethernet(&[], 0x0806, b"arp"));
    vec![pcap_header(order, NANOSECONDS, ETHERNET), record.clone(), other, record]
}

fn small_pcapng(order: Order) -> Vec<Vec<u8>> {
    let packet = datagram(b"payload");
    let enhanced = enhanced(order, 0, 9, packet.len() as u32, &packet);
    let interface = interface(order, 1, 0, &option(order, 9, &[9]));
    vec![section(order), interface, enhanced.clone(), block(order, 5, &[0; 20]), enhanced]
}

#[test]
fn captures_may_be_cut_anywhere() {
    for order in [Order::Little, Order::Big] {
        for parts in [small_pcap(order), small_pcapng(order)] {
            assert_survives_cuts(&parts.concat(), &ends(&parts));
        }
    }
}

#[test]
fn compressed_files_may_be_cut_anywhere() {
    let records = length_prefixed(&[b"first", b"second", &[3; 300]]);
    let whole = read_whole(&records, Format::Auto);
    let file = gzip(&records);
    for cut in 3..file.len() {
        let outcome = read(&file[..cut], Format::Auto);
        assert!(whole.messages.starts_with(&outcome.messages));
        assert!(matches!(outcome.error, Some(InputError::Read { .. })), "cut at {cut}");
    }
}

#[test]
fn lengths_are_refused_before_memory_is_taken() {
    for order in [Order::Little, Order::Big] {
        let mut parts = small_pcap(order);
        let position = parts.concat().len() as u64;
        for length in [RECORD_BYTES_MAX as u32 + 1, 0x7FFF_FFFF, u32::MAX] {
            parts.push(order.words(&[1, 1, length, length]));
            let outcome = read(&parts.concat(), Format::Auto);
            assert_eq!(outcome.messages.len(), 2);
            match outcome.error {
                Some(InputError::TooLong { position: at, length_bytes }) => {
                    assert_eq!((at, length_bytes), (position, u64::from(length)));
                }
                _ => panic!("a record of {length} bytes was not refused"),
            }
            parts.pop();
        }
        // A packet as long as may be.
        let mut longest = datagram(b"longest");
        longest.resize(RECORD_BYTES_MAX, 0xEE);
        parts.push(pcap_record(order, 1, 1, longest.len() as u32, &longest));
        assert_eq!(read_whole(&parts.concat(), Format::Auto).messages.len(), 3);

        let parts = small_pcapng(order);
        let position = parts.concat().len() as u64;
        for block_type in [0x0A0D_0D0A, 1, 2, 3, 6] {
            let start = order.words(&[block_type, 0xFFFF_FFF0, 0x1A2B_3C4D]);
            let outcome = read(&[parts.concat(), start].concat(), Format::Auto);
            assert_eq!(outcome.messages.len(), 2);
            match outcome.error {
                Some(InputError::TooLong { position: at, .. }) => assert_eq!(at, position),
                _ => panic!("a block of type {block_type} was not refused"),
            }
        }
        // Other blocks are passed over without being held, so they may be long.
        let long = block(order, 10, &vec![0; 4 * RECORD_BYTES_MAX]);
        let file = [parts.concat(), long, parts[2].clone()].concat();
        assert_eq!(read_whole(&file, Format::Auto).messages.len(), 3);
    }
}

#[test]
fn damaged_blocks_are_named_by_their_position() {
    let order = Order::Little;
    let parts = small_pcapng(order);
    let position = parts.concat().len() as u64;
    let mut trailing_length = parts[2].clone();
    *trailing_length.last_mut().unwrap() ^= 1;
    let mut captured_length = parts[2].clone();
    captured_length[20..24].copy_from_slice(&order.u32(RECORD_BYTES_MAX as u32));
    let mut version = section(order);
    version[12] = 2;
    let mut byte_order = section(order);
    byte_order[8] = 0;
    let cases = [
        trailing_length,
        captured_length,
        version,
        byte_order,
        enhanced(order, 1, 0, 1, b"x"),
        interface(order, 1, 0, &option(order, 9, &[20])),
        interface(order, 1, 0, &option(order, 9, &[0x80 | 64])),
        order.words(&[6, 0, 0]),
        order.words(&[6, 11, 11]),
        order.words(&[5, 13, 0, 13]),
        order.words(&[5, 16, 0, 20]),
        order.words(&[6, 12, 12]),
        order.words(&[2, 12, 12]),
        order.words(&[3, 12, 12]),
        order.words(&[1, 16, 0, 16]),
        // With the one that is there, one too many.
        interface(order, 1, 0, &[]).repeat(1024),
    ];
    for damaged in cases {
        let outcome = read(&[parts.concat(), damaged.clone()].concat(), Format::Auto);
        assert_eq!(outcome.messages.len(), 2);
        match outcome.error {
            Some(error @ InputError::Damaged { position: at, .. }) => {
                assert!(at >= position);
                assert!(error.to_string().contains(&at.to_string()));
            }
            error => panic!("{damaged:?} gives {error:?}"),
        }
    }
    let mut header = pcap_header(order, MICROSECONDS, ETHERNET);
    header[4] = 9;
    assert!(matches!(read(&header, Format::Auto).error, Some(InputError::Damaged { .. })));
}

#[test]
fn random_bytes_do_no_harm() {
    let mut state = 0x5EED_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    let mut errors = 0;
    let files = [
        small_pcap(Order::Little).concat(),
        small_pcap(Order::Big).concat(),
        small_pcapng(Order::Little).concat(),
        small_pcapng(Order::Big).concat(),
        gzip(&small_pcap(Order::Little).concat()),
        length_prefixed(&[b"first", b"second"]),
    ];
    for round in 0..6_000 {
        // A file with a few bytes changed, or its first bytes followed by noise.
        let mut bytes = files[round % files.len()].clone();
        if random() % 4 == 0 {
            let keep = random() % bytes.len();
            bytes[keep..].fill_with(|| random() as u8);
        } else {
            for _ in 0..=random() % 4 {
                let at = random() % bytes.len();
                bytes[at] = random() as u8;
            }
        }
        for format in [Format::Auto, Format::Lines, Format::LengthPrefixed, Format::Capture] {
            errors += usize::from(read(&bytes, format).error.is_some());
        }
    }
    assert!(errors > 1_000, "noise is told apart from data: {errors} errors");
}
