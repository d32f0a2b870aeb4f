//! Lines and length-prefixed records, and what is looked at to tell formats.

use super::*;

#[test]
fn lines_lose_only_their_newline() {
    let outcome = read_whole(b"one\n\ntwo\r\n\x00\xFFthree", Format::Lines);
    assert_eq!(outcome.payloads(), [&b"one"[..], b"", b"two\r", b"\x00\xFFthree"]);
    assert!(outcome.messages.iter().all(|(timestamp_ns, _)| timestamp_ns.is_none()));
    assert_eq!(read_whole(b"one\n", Format::Lines).payloads(), [b"one"]);
    assert!(read_whole(b"", Format::Lines).messages.is_empty());
}

#[test]
fn lines_are_never_taken_for_a_capture() {
    let file = pcap(ETHERNET, &[]);
    assert_eq!(read_whole(&file, Format::Lines).payloads(), [file]);
}

#[test]
fn a_line_may_be_as_long_as_the_limit() {
    let longest = vec![b'x'; RECORD_BYTES_MAX];
    let file = [&longest, &b"\n"[..], &longest].concat();
    assert_eq!(read_whole(&file, Format::Lines).payloads(), [&longest, &longest]);

    let file = [&b"first\n"[..], &longest, b"x\nlast"].concat();
    let outcome = read(&file, Format::Lines);
    assert_eq!(outcome.payloads(), [b"first"]);
    assert!(matches!(outcome.error, Some(InputError::LineTooLong { position: 6, .. })));

    let limited = |bytes_max| {
        let reader = BufReader::new(Cursor::new(file.clone()));
        let input = Input::from_reader(Box::new(reader), Format::Lines).unwrap();
        drain(input.line_bytes_max(bytes_max))
    };
    let outcome = limited(RECORD_BYTES_MAX as u64 + 1);
    assert!(outcome.error.is_none());
    assert_eq!(outcome.messages.len(), 3);
    let error = limited(4).error.unwrap();
    assert!(matches!(error, InputError::LineTooLong { position: 0, bytes_max: 4 }));
    assert!(error.to_string().contains("longer than 4 bytes"), "{error}");
}

#[test]
fn length_prefixed_records_end_with_the_file_or_with_length_zero() {
    let messages: [&[u8]; 3] = [b"a", b"bcd", &[7; 65_535]];
    let file = length_prefixed(&messages);
    for format in [Format::Auto, Format::LengthPrefixed] {
        assert_eq!(read_whole(&file, format).payloads(), messages);
        let ended = [&file[..], &[0, 0]].concat();
        assert_eq!(read_whole(&ended, format).payloads(), messages);
        let followed = [&ended[..], b"\x00\x01z"].concat();
        let outcome = read(&followed, format);
        assert_eq!(outcome.payloads(), messages);
        let end = ended.len() as u64;
        assert!(
            matches!(outcome.error, Some(InputError::AfterEnd { position }) if position == end)
        );
        assert!(read_whole(b"", format).messages.is_empty());
    }
}

#[test]
fn gzip_is_looked_through_in_every_format() {
    let records = length_prefixed(&[b"first", b"second"]);
    // The second member starts inside a record.
    let members = [gzip(&records[..9]), gzip(&records[9..])].concat();
    for format in [Format::Auto, Format::LengthPrefixed] {
        assert_eq!(read_whole(&members, format).payloads(), [&b"first"[..], b"second"]);
    }
    assert_eq!(read_whole(&gzip(b"x\ny"), Format::Lines).payloads(), [b"x", b"y"]);
    let capture = gzip(&pcap(ETHERNET, &[datagram(b"payload")]));
    for format in [Format::Auto, Format::Capture] {
        assert_eq!(read_whole(&capture, format).payloads(), [b"payload"]);
    }
}

#[test]
fn what_cannot_be_read_is_said_so() {
    let nested = gzip(&gzip(b"\x00\x01x"));
    assert!(matches!(read(&nested, Format::Auto).error, Some(InputError::NestedGzip)));
    let zstd = [0x28, 0xB5, 0x2F, 0xFD, 0];
    assert!(matches!(read(&zstd, Format::Auto).error, Some(InputError::Zstandard)));
    for other in [&b"\x00\x01x"[..], b""] {
        let error = read(other, Format::Capture).error;
        assert!(matches!(error, Some(InputError::NotACapture)));
    }
    let missing = Input::open(Path::new("/nowhere/to/be/found"), Format::Auto).err().unwrap();
    assert!(missing.to_string().contains("/nowhere/to/be/found"));
}

/// Gives one byte and fails if it is asked for more.
struct OneByte(Option<u8>);

impl std::io::Read for OneByte {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer[0] = self.0.take().expect("nothing more was typed yet");
        Ok(1)
    }
}

#[test]
fn no_more_is_waited_for_than_it_takes_to_tell_the_format() {
    for (byte, format) in [(b'h', Format::Lines), (b'\n', Format::Lines), (0, Format::Auto)] {
        let reader = BufReader::new(OneByte(Some(byte)));
        assert!(Input::from_reader(Box::new(reader), format).is_ok());
    }
}
