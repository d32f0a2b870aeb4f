//! x
use tickcast::*;
#[test]
fn smoke() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    unsafe { std::env::set_var("TICKCAST_DIR", dir.path()) };
    let bus = Bus::open_or_create("md").unwrap();
    let t = bus.topic("trades").ring_bytes(256 << 10).create().unwrap();
    let mut s = t.subscribe().reliable().open().unwrap();
    let mut l = t.subscribe().start_at(StartAt::Earliest).open().unwrap();
    let mut p = t.publisher(0).unwrap();
    assert!(matches!(t.publisher(0), Err(PublisherError::Busy { .. })));
    let mut want = 0u64;
    for i in 0..200_000u64 {
        p.publish(i, &[i; 6]).unwrap();
        if i % 1000 == 999 {
            let n = s.poll(usize::MAX, |e| match e {
                Event::Message(m) => { assert_eq!(m.offset, want); assert_eq!(m.read::<[u64; 6]>().unwrap(), &[want; 6]); want += 1; }
                Event::Notice(n) => panic!("{n}"),
            });
            assert_eq!(n, 1000);
        }
    }
    let big = vec![7u8; 60_000];
    p.publish(1, &big[..]).unwrap();
    let big = vec![8u8; 65_536];
    p.publish(1, &big[..]).unwrap();
    let mut lens = vec![];
    s.poll(usize::MAX, |e| match e { Event::Message(m) => lens.push(m.payload.len()), Event::Notice(n) => panic!("{n}") });
    assert_eq!(lens, [60_000, 65_536]);
    let mut n = 0; let mut lost = 0;
    l.poll(usize::MAX, |e| match e { Event::Message(_) => n += 1, Event::Notice(Notice { kind: NoticeKind::Lost { from, to, .. }, .. }) => lost += to - from + 1, Event::Notice(n) => panic!("{n}") });
    println!("{n} {lost}");
    assert_eq!(n + lost, 200_002);
    println!("{:?}", t.stat().unwrap());
    drop(p);
    println!("{:?}", s.receive(None));
    let mut p = t.publisher(0).unwrap();
    p.publish(5, b"x").unwrap();
    println!("{:?}", s.receive(None));
    println!("{:?}", s.receive(Some(std::time::Duration::from_millis(300))));
    assert!(Bus::remove("md", false).is_err());
    Bus::remove("md", true).unwrap();
    println!("{:?}", s.receive(None));
    println!("{:?}", s.receive(None));
}
