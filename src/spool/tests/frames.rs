//! Frames: one valid rendering, and any damage is detected.

use proptest::prelude::*;

use super::super::format::Head;
use super::super::log::frame::{BLOCK, Contents, Found, Frame, body_of, scan, segment_head, size};
use super::*;

fn head(seq: u64) -> Head {
    Head {
        seq,
        store: store(&"s".repeat(63)),
        read_id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        reserved_at: "2026-01-02T03:04:05.123456789Z".parse().unwrap(),
    }
}

fn frames() -> [Frame; 6] {
    let (head, at) = (head(u64::MAX), "2026-01-02T03:04:05.123456789Z".parse().unwrap());
    let pending = Some(Pending { orders: u64::MAX, at });
    [
        Frame::Reading { head: head.clone(), pending: None },
        Frame::Reading { head: head.clone(), pending },
        Frame::Page { head: head.clone(), read_at: at, next: None },
        Frame::Page { head: head.clone(), read_at: at, next: Some((u64::MAX, head.read_id)) },
        Frame::Unknown { head, at, pending },
        Frame::Done,
    ]
}

/// A segment with these frames, and space.
fn segment(number: u64, frames: &[(&Frame, &[u8])]) -> Vec<u8> {
    let mut bytes = segment_head(number);
    for (frame, body) in frames {
        let at = bytes.len();
        bytes.extend(frame.render(number, body));
        bytes.extend(*body);
        bytes.resize(at + size(body.len()), 0);
    }
    bytes.resize(bytes.len() + 4 * BLOCK, 0);
    bytes
}

#[test]
fn every_frame_is_read_as_it_was_written_and_its_text_fits_into_a_block() {
    for frame in frames() {
        for body in [&b""[..], b"{}", &[b'x'; 1000]] {
            let rendered = frame.render(u64::MAX, body);
            assert_eq!(rendered.len(), BLOCK, "{frame:?}");
            let bytes = segment(u64::MAX, &[(&frame, body)]);
            let range = 2 * BLOCK..2 * BLOCK + body.len();
            let found = vec![Found::Frame { frame: frame.clone(), body: range, is_whole: true }];
            let end = BLOCK + size(body.len());
            assert_eq!(scan(&bytes), Some(Contents { number: u64::MAX, has_head: true, found, end }));
            assert_eq!(body_of(&bytes[BLOCK..]), Some(BLOCK..BLOCK + body.len()));
        }
    }
}

#[test]
fn every_single_byte_of_text_and_body_counts_and_none_of_the_space_does() {
    let frame = &frames()[3];
    let good = segment(7, &[(frame, b"{\"data\":[]}")]);
    let whole = scan(&good);
    for position in BLOCK..good.len() {
        let mut bytes = good.clone();
        bytes[position] ^= 1 << (position % 8);
        let contents = scan(&bytes).unwrap();
        let frame_is_whole = |found: &Found| matches!(found, Found::Frame { is_whole: true, .. });
        let in_frame = position < 2 * BLOCK + 11;
        assert_eq!(contents.found.iter().any(frame_is_whole), !in_frame, "byte {position}");
        assert_ne!(Some(contents), whole.clone_if(in_frame), "byte {position}");
    }
}

trait CloneIf {
    fn clone_if(&self, condition: bool) -> Option<Contents>;
}

impl CloneIf for Option<Contents> {
    fn clone_if(&self, condition: bool) -> Option<Contents> {
        let Contents { number, has_head, found, end } = self.as_ref().filter(|_| condition)?;
        let found = found.iter().map(|found| match found {
            Found::Frame { frame, body, is_whole } => {
                Found::Frame { frame: frame.clone(), body: body.clone(), is_whole: *is_whole }
            }
            other => panic!("{other:?}"),
        });
        Some(Contents { number: *number, has_head: *has_head, found: found.collect(), end: *end })
    }
}

#[test]
fn frames_of_an_earlier_use_of_the_file_are_not_taken_for_new_ones() {
    let [.., old, done] = &frames();
    let mut bytes = segment(8, &[(done, b"1 2 3")]);
    bytes.extend(&segment(7, &[(old, b"old")])[BLOCK..]);
    let contents = scan(&bytes).unwrap();
    let frames = contents.found.iter().filter(|found| matches!(found, Found::Frame { .. }));
    assert_eq!((contents.number, frames.count()), (8, 1));
}

#[test]
fn a_file_of_zeros_is_no_segment() {
    assert_eq!(scan(&[0; 4 * BLOCK]), None);
    assert_eq!(scan(&[]), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is in a file, and wherever it is cut, it is read without a panic, and no frame appears that was not there.
    #[test]
    fn no_bytes_make_the_scan_fail(cut in 0..6000_usize, at in 0..6000_usize, noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let [a, b, c, ..] = &frames();
        let mut bytes = segment(3, &[(a, b""), (b, b"one"), (c, &[b'y'; 2000])]);
        let at = at.min(bytes.len());
        let end = (at + noise.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&noise[..end - at]);
        bytes.truncate(cut.min(bytes.len()));
        if let Some(contents) = scan(&bytes) {
            for found in contents.found {
                if let Found::Frame { frame, is_whole: true, .. } = found {
                    prop_assert!([a, b, c].contains(&&frame));
                }
            }
        }
    }
}
