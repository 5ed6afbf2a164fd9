//! Any damage to a finished file is either detected or harmless.

use proptest::prelude::*;

use super::super::format::{BODY, Found, HEAD, Head, Outcome, Seal, examine, one_line};
use super::*;

/// A finished file, and how it must be classified.
fn finished(body: &[u8], space: usize) -> (Vec<u8>, Found) {
    let head = Head {
        seq: 42,
        store: store("bogota"),
        read_id: "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap(),
        reserved_at: "2026-01-02T03:04:05Z".parse().unwrap(),
    };
    let seal = Seal { outcome: Outcome::Page, at: "2026-01-02T03:04:05.5Z".parse().unwrap() };
    let mut file = head.render();
    file.extend(seal.render(&file, body));
    file.extend(body);
    file.resize(file.len() + space, 0);
    (file, Found::Sealed(head, seal, BODY..BODY + body.len()))
}

fn is_whole(found: &Found) -> bool {
    matches!(found, Found::Sealed(..))
}

#[test]
fn every_single_byte_of_head_seal_and_body_counts_and_none_of_the_space_does() {
    let (mut file, expected) = finished(b"{\"data\":[]}", 100);
    let end = BODY + 11;
    for position in 0..file.len() {
        let flipped = 1 << (position % 8);
        file[position] ^= flipped;
        let found = examine(&file);
        assert_eq!(is_whole(&found), position >= end, "byte {position}");
        if position < HEAD {
            assert!(matches!(found, Found::Corrupt(_)), "byte {position}");
        }
        file[position] ^= flipped;
    }
    assert_eq!(examine(&file), expected);
}

#[test]
fn a_file_cut_anywhere_before_the_end_of_its_body_is_not_whole() {
    let (file, expected) = finished(b"{\"data\":[]}", 100);
    for length in 0..file.len() {
        let found = examine(&file[..length]);
        assert_eq!(is_whole(&found), length >= BODY + 11, "cut to {length}");
        if is_whole(&found) {
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_seal_fits_no_other_head_and_no_other_body() {
    let (mut file, _) = finished(b"one", 0);
    let (other, _) = finished(b"two", 0);
    file[BODY..].copy_from_slice(&other[BODY..]);
    assert!(matches!(examine(&file), Found::Torn(_, body, _) if body == (BODY..BODY + 3)));

    let (mut file, found) = finished(b"one", 0);
    let Found::Sealed(head, ..) = found else { panic!("{found:?}") };
    file[..HEAD].copy_from_slice(&Head { seq: 43, ..head }.render());
    assert!(matches!(examine(&file), Found::Torn(..)));
}

proptest! {
    #[test]
    fn any_run_of_changed_bytes_is_found_or_harmless(
        body in proptest::collection::vec(any::<u8>(), 0..3000),
        space in 0_usize..3000,
        at in any::<prop::sample::Index>(),
        noise in proptest::collection::vec(any::<u8>(), 1..600),
    ) {
        let (whole, expected) = finished(&body, space);
        let mut file = whole.clone();
        let start = at.index(file.len());
        for (byte, noise) in file[start..].iter_mut().zip(&noise) {
            *byte = *noise;
        }
        let end = BODY + body.len();
        if file[..end] == whole[..end] {
            prop_assert_eq!(examine(&file), expected);
        } else {
            prop_assert!(!is_whole(&examine(&file)));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_are_a_page(file in proptest::collection::vec(any::<u8>(), 0..6000)) {
        prop_assert!(!is_whole(&examine(&file)));
    }

    #[test]
    fn any_reason_fits_and_is_read_back(reason in "\\PC{0,400}|(?s).{0,400}") {
        let seal = Seal { outcome: Outcome::Unknown(one_line(&reason)), at: Timestamp::UNIX_EPOCH };
        let mut file = finished(b"", 0).0;
        file.truncate(HEAD);
        let rendered = seal.render(&file, b"partial");
        file.extend(rendered);
        file.extend(b"partial");
        let found = examine(&file);
        prop_assert!(matches!(&found, Found::Sealed(_, read, _) if *read == seal), "{:?}", found);
    }
}
