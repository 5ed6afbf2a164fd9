use proptest::prelude::*;

use super::*;

fn records(body: &str) -> Result<Vec<&str>, PageError> {
    Page::parse(body.as_bytes()).map(|page| page.records.iter().map(Record::text).collect())
}

fn read_order_ids(body: impl std::io::Read) -> Result<crate::order::ids::OrderIds, PageError> {
    read_id_list(body).map(|list| list.ids)
}

fn ids(body: &str) -> Result<Vec<String>, PageError> {
    read_order_ids(body.as_bytes()).map(|ids| ids.iter().map(|id| id.as_str().to_owned()).collect())
}

fn single(body: &str) -> Result<&str, PageError> {
    parse_single(body.as_bytes()).map(|record| record.text())
}

const PAGE: &str = "\u{feff}{\"data\":[{\"order\":{\"id\":1,\"total\":\"1.50\"},\"buyer\":{\"name\":\"Ñandú 🙏\"}},{\"order\":{\"id\":2}}],\
     \"metadata\":{\"total_transactions_found\":12,\"returned_transactions\":\"2\",\"pending_transactions\":10}}";

#[test]
fn a_page_has_its_records_as_they_came_and_its_counts() {
    let page = Page::parse(PAGE.as_bytes()).unwrap();
    let shown: Vec<_> = page.records.iter().map(Record::text).collect();
    assert_eq!(shown, [r#"{"order":{"id":1,"total":"1.50"},"buyer":{"name":"Ñandú 🙏"}}"#, r#"{"order":{"id":2}}"#]);
    assert_eq!((page.total_found, page.returned, page.pending), (Some(12), Some(2), Some(10)));
    assert_eq!(format!("{page:?}"), "Page { records: 2, total_found: Some(12), returned: Some(2), pending: Some(10) }");
}

#[test]
fn records_are_found_however_php_writes_the_list() {
    for (body, expected) in [
        (r#"{"data":[1,null,"x"]}"#, &["1", "null", "\"x\""][..]),
        (r#"{"data":{"10":"c","9":"b","0":"a"}}"#, &["\"a\"", "\"b\"", "\"c\""]),
        (r#"{"data":{"1":"a","1":"b"}}"#, &["\"a\"", "\"b\""]),
        (r#"{"data":[]}"#, &[]),
        (r#"{"data":{}}"#, &[]),
        (r#" {"data":null,"metadata":[],"message":"no hay"} "#, &[]),
        (r#"{"metadata":{"returned_transactions":0,"pending_transactions":0}}"#, &[]),
        (r#"{"data":[1],"metadata":null,"error":null,"errors":[ ],"success":true}"#, &["1"]),
        // Complete records beside an error message are still the only copy.
        (r#"{"data":[1],"error":"slow"}"#, &["1"]),
    ] {
        assert_eq!(records(body).as_deref(), Ok(expected), "{body}");
    }
}

#[test]
fn counts_are_optional_and_only_the_one_that_is_checked_must_be_readable() {
    let counts = |metadata: &str| {
        let body = format!(r#"{{"metadata":{metadata},"data":[1]}}"#);
        Page::parse(body.as_bytes()).map(|page| (page.total_found, page.returned, page.pending))
    };
    assert_eq!(counts("{}"), Ok((None, None, None)));
    assert_eq!(counts(r#"{"pending_transactions":" 7 "}"#), Ok((None, None, Some(7))));
    assert_eq!(counts(r#"{"pending_transactions":-3,"total_transactions_found":"many"}"#), Ok((None, None, None)));
    assert_eq!(counts(r#"{"returned_transactions":null}"#), Ok((None, None, None)));
    assert_eq!(counts(r#"{"returned_transactions":""}"#), Ok((None, None, None)));
    for unreadable in ["1.0", "-1", "true", "[1]", r#""one""#, "18446744073709551616"] {
        let metadata = format!(r#"{{"returned_transactions":{unreadable}}}"#);
        assert_eq!(counts(&metadata), Err(PageError::UnreadableCount), "{unreadable}");
    }
}

#[test]
fn a_body_that_is_no_page_is_an_error_of_its_own_kind() {
    for (body, expected) in [
        ("", PageError::Truncated(0)),
        (r#"{"data":[{"order":"#, PageError::Truncated(18)),
        ("<!DOCTYPE html><html>", PageError::NotJson { line: 1, column: 1 }),
        (r#"{"data":[]}<br>Warning"#, PageError::NotJson { line: 1, column: 12 }),
        (r#"{"data":[1,]}"#, PageError::NotJson { line: 1, column: 12 }),
        ("{}", PageError::NoData),
        ("[]", PageError::NoData),
        ("null", PageError::NoData),
        ("7", PageError::NoData),
        (r#"{"orders":[1]}"#, PageError::NoData),
        (r#"{"data":{"orders":[1]}}"#, PageError::Shape),
        (r#"{"data":"x"}"#, PageError::Shape),
        (r#"{"data":7}"#, PageError::Shape),
        (r#"{"data":false}"#, PageError::Shape),
        (r#"{"data":[1],"data":[2]}"#, PageError::Shape),
        (r#"{"error":"Token no válido"}"#, PageError::ErrorBody),
        (r#"{"status":500,"message":"x"}"#, PageError::ErrorBody),
        (r#"{"data":[],"error":{"code":500}}"#, PageError::ErrorBody),
        (r#"{"data":null,"success":false}"#, PageError::ErrorBody),
    ] {
        assert_eq!(records(body), Err(expected), "{body}");
    }
    assert_eq!(Page::parse(b"\x1f\x8b\x08{\"data\":[]}").unwrap_err(), PageError::NotUtf8(1));
    assert_eq!(Page::parse(b"{\"data\":[\"\xc3").unwrap_err(), PageError::Truncated(11));
}

#[test]
fn records_that_the_server_counts_otherwise_are_kept_and_the_disagreement_is_told() {
    for (body, returned, records) in [
        (r#"{"data":[1],"metadata":{"returned_transactions":2}}"#, 2, 1),
        (r#"{"data":[1,2],"metadata":{"returned_transactions":1}}"#, 1, 2),
        (r#"{"data":[],"metadata":{"returned_transactions":30}}"#, 30, 0),
        (r#"{"orders":[1],"metadata":{"returned_transactions":1}}"#, 1, 0),
    ] {
        let page = Page::parse(body.as_bytes()).unwrap();
        assert_eq!(page.records.len(), records, "{body}");
        assert_eq!(page.disagreement(), Some(PageError::CountsDisagree { returned, records }), "{body}");
    }
    let agreed = Page::parse(br#"{"data":[1],"metadata":{"returned_transactions":1}}"#).unwrap().disagreement();
    assert_eq!(agreed, None);
}

#[test]
fn a_body_that_is_cut_at_any_byte_is_an_error() {
    for body in [
        PAGE,
        r#"{"metadata":{"returned_transactions":3},"data":{"0":{"a":[1]},"2":12,"7":null}}"#,
        r#"{"data":[[1],[2]]}"#,
        r#"{"data":["\u00f1",true,-1.5e7]}"#,
    ] {
        assert!(Page::parse(body.as_bytes()).is_ok());
        for end in 0..body.len() {
            assert!(Page::parse(&body.as_bytes()[..end]).is_err(), "{:?}", &body.as_bytes()[..end]);
        }
    }
    let list = r#"{"data":{"ids":[1,"2",{"id":3}]}}"#;
    assert_eq!(ids(list).unwrap().len(), 3);
    assert!((0..list.len()).all(|end| ids(&list[..end]).is_err() && single(&list[..end]).is_err()));
}

#[test]
fn no_nesting_is_too_deep() {
    let bomb = "[".repeat(100_000);
    for body in
        [bomb.clone(), format!(r#"{{"data":{bomb}"#), format!(r#"{{"data":[{bomb}"#), format!(r#"{{"metadata":{bomb}"#)]
    {
        assert!(Page::parse(body.as_bytes()).is_err());
        assert!(read_order_ids(body.as_bytes()).is_err());
        assert!(parse_single(body.as_bytes()).is_err());
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(records(&format!(r#"{{"data":[{deep}]}}"#)).unwrap(), [&deep]);
}

#[test]
fn order_ids_are_found_in_every_likely_shape() {
    for body in [
        r#"[7,"008","A-9"]"#,
        r#"[7.0,"008","A-9"]"#,
        r#"{"data":[{"id":7.0},{"id":"008"},"A-9"]}"#,
        r#"{"0":7,"1":"008","2":"A-9"}"#,
        r#"{"data":[7,"008","A-9"]}"#,
        r#"{"data":{"0":7,"5":"008","6":"A-9"},"metadata":{"returned_transactions":3}}"#,
        r#"{"data":{"ids":[7,"008","A-9"]}}"#,
        r#"{"data":{"ids":{"3":7,"4":"008","5":"A-9"},"total":3}}"#,
        r#"{"ids":[7," 008 ","A-9"],"status":200}"#,
        r#"{"data":[{"id":7},{"order_id":"008","total":1},{"order":{"id_transaction":"A-9"},"id":4}]}"#,
        r#"[{"transaction_id":7,"id":null},{"id":"008","order":null},{"id_order":"A-9"}]"#,
    ] {
        assert_eq!(ids(body).as_deref(), Ok(&["7", "008", "A-9"].map(String::from)[..]), "{body}");
    }
    assert_eq!(ids(r#"{"2":"A-9","0":7}"#).as_deref(), Ok(&["A-9", "7"].map(String::from)[..]), "as they come");
    assert_eq!(ids(r#"{"data":{"3":{"total":1},"ids":[7]}}"#).as_deref(), Ok(&["7".to_owned()][..]), "no list");
    assert_eq!(ids("\u{feff} [7] ").as_deref(), Ok(&["7".to_owned()][..]));
    for body in
        ["[]", r#"{"data":[]}"#, r#"{"data":{}}"#, r#"{"data":null}"#, r#"{"data":{"ids":[]}}"#, r#"{"ids":{}}"#]
    {
        assert_eq!(ids(body), Ok(vec![]), "{body}");
    }
}

#[test]
fn an_id_list_that_is_not_wholly_understood_is_an_error() {
    for (body, expected) in [
        ("[1,null]", PageError::NoId { index: 1 }),
        ("[1,2,true]", PageError::NoId { index: 2 }),
        ("[7.5]", PageError::NoId { index: 0 }),
        (r#"[""]"#, PageError::NoId { index: 0 }),
        (r#"[{"total":1}]"#, PageError::NoId { index: 0 }),
        ("[[1]]", PageError::NoId { index: 0 }),
        ("{}", PageError::NoData),
        ("null", PageError::NoData),
        (r#"{"orders":[1]}"#, PageError::NoData),
        (r#"{"message":"x"}"#, PageError::ErrorBody),
        (r#"{"data":[],"error":"x"}"#, PageError::ErrorBody),
        (r#"{"ids":[],"error":"x"}"#, PageError::ErrorBody),
        (r#"{"data":[1],"errors":["x"]}"#, PageError::ErrorBody),
        (r#"{"data":{"id":1}}"#, PageError::Shape),
        (r#"{"data":{"ids":7}}"#, PageError::Shape),
        (r#"{"data":{"ids":{"x":7}}}"#, PageError::Shape),
        (r#"{"data":7}"#, PageError::Shape),
        (r#"{"data":[1],"data":[2]}"#, PageError::Shape),
        (r#"{"ids":[1],"ids":[2]}"#, PageError::Shape),
        ("7", PageError::Shape),
        (r#""7""#, PageError::NoData),
        ("true", PageError::NoData),
        ("", PageError::Truncated(0)),
        ("[1] x", PageError::NotJson { line: 1, column: 5 }),
        (
            r#"{"data":[1],"metadata":{"returned_transactions":2}}"#,
            PageError::CountsDisagree { returned: 2, records: 1 },
        ),
        ("<html>", PageError::NotJson { line: 1, column: 1 }),
        ("[1,2", PageError::Truncated(4)),
    ] {
        assert_eq!(ids(body), Err(expected), "{body}");
    }
}

#[test]
fn one_order_is_found_as_an_object_in_a_list_of_one_or_at_the_top() {
    let record = r#"{"order":{"id":7}}"#;
    for body in [
        format!(r#"{{"data":{record}}}"#),
        format!(r#"{{"data":[{record}]}}"#),
        format!(r#"{{"data":{{"0":{record}}},"metadata":{{}},"error":false}}"#),
        format!("[{record}]"),
        format!("\u{feff} {record} "),
    ] {
        assert_eq!(single(&body), Ok(record), "{body}");
    }
    assert_eq!(single(r#"{"id":7,"status":"paid"}"#), Ok(r#"{"id":7,"status":"paid"}"#));
    for (body, expected) in [
        (r#"{"data":[]}"#, PageError::NoRecord),
        (r#"{"data":{}}"#, PageError::NoRecord),
        (r#"{"data":null}"#, PageError::NoRecord),
        ("[]", PageError::NoRecord),
        (r#"{"data":[1,2]}"#, PageError::SeveralRecords(2)),
        (r#"{"data":7}"#, PageError::Shape),
        (r#"{"data":null,"error":"x"}"#, PageError::ErrorBody),
        (r#"{"code":404,"message":"x"}"#, PageError::ErrorBody),
        ("{}", PageError::NoData),
        ("7", PageError::NoData),
        ("", PageError::Truncated(0)),
    ] {
        assert_eq!(single(body), Err(expected), "{body}");
    }
}

const NOTICE: &str =
    "<br />\n<b>Warning</b>:  Undefined array key \"mobile\" in <b>/srv/api/{cart}.php</b> on line <b>12</b><br />\n";

#[test]
fn a_page_with_notices_around_it_is_the_page() {
    let page = &PAGE['\u{feff}'.len_utf8()..];
    let expected = records(PAGE).unwrap();
    for (before, behind, kind) in [
        (NOTICE, "", "PHP warning"),
        ("", NOTICE, "PHP warning"),
        ("\nNotice: Undefined index {\"x\" in /srv/api.php on line 3\n", "\n", "PHP notice"),
        ("<br>\n<b>Deprecated</b>: x {\"id\":7} y<br>", "<!-- 0.2 s -->", "PHP deprecation"),
        (PAGE_OF_STYLE, "</body></html>", "HTML"),
        ("callback(", ");", "text"),
        ("\u{feff}", "", "text"),
        ("12 ", "", "text"),
    ] {
        let body = format!("\u{feff}{before}{page}{behind}");
        let parsed = Page::parse(body.as_bytes()).unwrap();
        assert_eq!(parsed.records.iter().map(Record::text).collect::<Vec<_>>(), expected, "{body}");
        assert_eq!(parsed.noise, Some(Noise { kind, before: before.len(), behind: behind.len() }), "{body}");
    }
    assert_eq!(Page::parse(PAGE.as_bytes()).unwrap().noise, None);
    let html = format!("<html><script>{}{page}", "if(a){\"use strict\"};".repeat(1000));
    assert!(Page::parse(html.as_bytes()).is_err(), "the search has an end");
}

const PAGE_OF_STYLE: &str = "<html><style>p{color:red}</style><script>x={\"@type\":\"Shop\",\"n\":[{}]}</script><body>";

#[test]
fn a_body_in_which_nobody_can_tell_the_page_is_none() {
    let page = r#"{"data":[1],"metadata":{"returned_transactions":1}}"#;
    for body in [
        format!("{page}{page}"),
        format!("{NOTICE}{page}{NOTICE}{page}"),
        format!(r#"{NOTICE}{{"data":[2]}}{page}"#),
        format!(r#"{page}{NOTICE}{{"data":[2"#),
        // A broken document with another inside.
        format!(r#"{NOTICE}{{"data":[{page},oops],"metadata":{{}}}}"#),
        format!("{NOTICE}{}", &page[..page.len() - 1]),
        format!(r#"{NOTICE}{{"data":[1]}}"#),
        format!(r#"{NOTICE}{{"data":[1],"metadata":[]}}"#),
        NOTICE.to_owned(),
    ] {
        assert!(records(&body).is_err(), "{body}");
    }
    let noisy = format!("{NOTICE}{page}{NOTICE}");
    for end in 0..NOTICE.len() + page.len() {
        assert!(Page::parse(&noisy.as_bytes()[..end]).is_err(), "{:?}", &noisy[..end]);
    }
}

#[test]
fn lists_and_single_orders_are_found_among_notices_too() {
    let list = r#"{"data":[7,"008"],"metadata":{"total_transactions_found":2}}"#;
    for body in [format!("{NOTICE}{list}"), format!("{list}{NOTICE}"), format!("{NOTICE}{list}{NOTICE}")] {
        assert_eq!(ids(&body).as_deref(), Ok(&["7", "008"].map(String::from)[..]), "{body}");
        for end in 0..body.find(list).unwrap() + list.len() {
            assert!(ids(&body[..end]).is_err(), "{:?}", &body[..end]);
        }
    }
    for body in [
        format!("{list}{list}"),
        format!("{NOTICE}{list}{list}"),
        format!("{NOTICE}[7]"),
        format!("[7]{NOTICE}"),
        NOTICE.to_owned(),
    ] {
        assert!(ids(&body).is_err(), "{body}");
    }
    let order = r#"{"data":{"order":{"id":7}}}"#;
    assert_eq!(single(&format!("{NOTICE}{order}")), Ok(r#"{"order":{"id":7}}"#));
    assert_eq!(single(&format!("{order}{NOTICE}")), Ok(r#"{"order":{"id":7}}"#));
    assert!(single(&format!("{NOTICE}{order}{order}")).is_err());
}

/// A page whose second record has `name` inside the buyer's name.
fn page_with(name: &[u8]) -> Vec<u8> {
    let before = r#"{"data":[{"order":{"id":1}},{"order":{"id":2},"buyer":{"name":"Pe"#;
    let behind = r#"a"}},{"order":{"id":3},"buyer":{"name":"Ñandú"}}],"metadata":{"returned_transactions":3}}"#;
    [before.as_bytes(), name, behind.as_bytes()].concat()
}

#[test]
fn a_byte_that_is_no_text_costs_its_own_record_and_no_other() {
    let mapping = mapping::Mapping::default();
    let country = crate::order::country::Country::Co;
    for (name, reason) in [
        (&b"\xf1"[..], "is not UTF-8 (byte 37)"),
        (b"\xe2\x82\xff", "is not UTF-8 (byte 37)"),
        (b"\xf1\xf1\\\"\xf1", "is not UTF-8 (byte 37)"),
        (b"\x00\n\t", "a control character"),
    ] {
        for body in [page_with(name), [NOTICE.as_bytes(), &page_with(name)].concat()] {
            if body.starts_with(b"<") && name.starts_with(b"\x00") {
                continue;
            }
            let page = Page::parse(&body).unwrap();
            assert_eq!((page.records.len(), page.returned), (3, Some(3)));
            assert_eq!(
                page.records.iter().map(Record::is_broken).collect::<Vec<_>>(),
                [false, true, false],
                "{name:?}"
            );
            let letter = page.records[1].order(&mapping, country).unwrap_err();
            assert_eq!(letter.id, Some("2".parse().unwrap()), "{name:?}");
            assert_eq!(letter.json, [br#"{"order":{"id":2},"buyer":{"name":"Pe"#, name, br#"a"}}"#].concat());
            assert!(letter.reason.contains(reason), "{}", letter.reason);
            assert_eq!(page.records[2].order(&mapping, country).unwrap().buyer.name.as_deref(), Some("Ñandú"));
        }
    }
}

#[test]
fn the_records_of_a_page_are_at_their_places_in_its_body_whatever_is_around_or_in_them() {
    let bodies = [
        PAGE.into(),
        page_with(b"x"),
        page_with(b"\xf1"),
        page_with(b"\n"),
        [NOTICE.as_bytes(), &page_with(b"x")].concat(),
    ];
    for body in bodies {
        let (page, PageVerdict::Orders(summary)) = (Page::parse(&body).unwrap(), PageVerdict::of(&body)) else {
            panic!("it has records");
        };
        let shown = |record: Record<'_>| (record.is_broken(), record.bytes().to_vec());
        let found: Vec<_> = summary.records.records(&body).map(shown).collect();
        assert_eq!(found, page.records.iter().map(|record| shown(*record)).collect::<Vec<_>>());
        assert_eq!(found.len(), summary.records.len());
    }
}

#[test]
fn an_id_with_a_byte_that_is_no_text_is_none() {
    let mapping = mapping::Mapping::default();
    for body in [&b"{\"data\":[{\"order\":{\"id\":\"4\xff7\"}}]}"[..], b"{\"data\":[{\"order\":{\"i\xff\":7}}]}"] {
        let page = Page::parse(body).unwrap();
        assert_eq!(page.records[0].order(&mapping, crate::order::country::Country::Co).unwrap_err().id, None);
    }
    // Outside of the records an invalid byte does no harm; outside of strings it costs the whole page.
    let elsewhere = b"{\"data\":[{\"order\":{\"id\":7}}],\"metadata\":{\"x\":\"\xff\"}}";
    assert!(matches!(Page::parse(elsewhere).unwrap().records[..], [record] if !record.is_broken()));
    assert_eq!(Page::parse(b"{\"data\":[7]\xff}").unwrap_err(), PageError::NotUtf8(11));
    let single = parse_single(b"{\"data\":{\"order\":{\"id\":7,\"x\":\"\xff\"}}}").unwrap();
    assert!(single.is_broken() && single.bytes().ends_with(b"\xff\"}}"));
}

/// Reads at most this many bytes at a time.
struct InPieces<'a>(&'a [u8], usize);

impl std::io::Read for InPieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.0.len().min(self.1).min(buffer.len());
        let (piece, rest) = self.0.split_at(length);
        buffer[..length].copy_from_slice(piece);
        self.0 = rest;
        Ok(length)
    }
}

#[test]
fn a_body_that_cannot_be_read_to_its_end_is_no_list() {
    struct Breaks;
    impl std::io::Read for Breaks {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("broken"))
        }
    }
    use std::io::Read as _;
    assert_eq!(read_order_ids(b"[1,2]".chain(Breaks)), Err(PageError::Truncated(5)));
}

#[test]
fn a_million_ids_take_little_more_than_their_text() {
    let list: String = (4_000_000..5_000_000).map(|id| format!("{id},")).collect();
    let ids = read_order_ids(format!("[{}]", &list[..list.len() - 1]).as_bytes()).unwrap();
    assert_eq!(ids.len(), 1_000_000);
    assert!(ids.memory() <= 2 * 8 * 1_000_000, "{} bytes", ids.memory());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Page::parse(&body));
        drop(read_order_ids(&*body));
        drop(parse_single(&body));
    }

    #[test]
    fn no_text_made_of_json_makes_it_panic(
        body in r#"\{("data"|"ids"|"metadata"|"error"|[0-9]):[\[{\]}:,0-9"a]{0,30}\}?|[\[{\]}:,0-9"]{0,40}"#,
    ) {
        drop(Page::parse(body.as_bytes()));
        drop(read_order_ids(body.as_bytes()));
        drop(parse_single(body.as_bytes()));
    }

    #[test]
    fn an_id_list_is_the_same_in_whatever_pieces_it_comes_and_none_when_it_is_cut(
        texts in prop::collection::vec("[0-9A-Z]{1,12}", 0..40),
        shape in 0..4,
        piece in 1..20usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let list = serde_json::to_string(&texts).unwrap();
        let body = match shape {
            0 => list,
            1 => format!(r#"{{"data":{list},"metadata":{{"returned_transactions":{}}}}}"#, texts.len()),
            2 => format!(r#"{{"data":{{"ids":{list}}},"message":"ok"}}"#),
            _ => format!(r#"{{"status":200,"ids":{list}}}"#),
        };
        let read = read_order_ids(InPieces(body.as_bytes(), piece)).unwrap();
        prop_assert_eq!(read.iter().map(crate::order::ids::Listed::as_str).collect::<Vec<_>>(), texts);
        let cut = cut.index(body.len());
        prop_assert_eq!(read_order_ids(InPieces(&body.as_bytes()[..cut], piece)), Err(PageError::Truncated(cut)));
    }

    #[test]
    fn a_damaged_id_list_never_makes_it_panic(
        texts in prop::collection::vec("[0-9]{1,8}", 0..40),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = format!(r#"{{"data":{{"ids":{texts:?}}},"metadata":{{}}}}"#).into_bytes();
        let place = place.index(body.len());
        body[place] = byte;
        drop(read_order_ids(&*body));
    }

    #[test]
    fn as_many_records_come_out_as_went_in_and_none_when_it_is_cut(
        records in prop::collection::vec(any::<String>(), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let json = serde_json::json!({"data": records, "metadata": {"returned_transactions": records.len()}}).to_string();
        let page = Page::parse(json.as_bytes()).unwrap();
        let read: Vec<String> = page.records.iter().map(|record| serde_json::from_str(record.text()).unwrap()).collect();
        prop_assert_eq!(read, records);
        prop_assert!(Page::parse(&json.as_bytes()[..cut.index(json.len())]).is_err());
    }
}
