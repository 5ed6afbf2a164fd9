//! The extent that a list of IDs gives: totals and paging. APIs spell this in many ways:
//!
//! | meaning | names |
//! |---|---|
//! | how many there are in all | `total`, `total_transactions_found`, `total_count`, `total_items`, `total_records`, `total_results` |
//! | how many are here | `count`, `returned`, `returned_transactions` |
//! | how many are still to come | `pending_transactions`, if no total is given |
//! | which page this is | `current_page`, `page`, `page_number` |
//! | which page is the last | `last_page`, `total_pages`, `page_count`, `pages` |
//! | how many fit on a page | `per_page`, `page_size`, `limit` |
//! | whether more follows | `has_more`, `has_more_pages`, `has_next`, `has_next_page`, or a value under `next`, `next_page`, `next_page_url`, `next_cursor`, `links.next` |
//!
//! The names are looked for at the top and in `metadata`, `meta`, `links`, `pagination` and `paging`. Case, `_` and `-`
//! are ignored, so `totalCount` means `total_count`. [`crate::marketplace::client`] reads the headers (`Link`,
//! `X-Total-Count`).

use serde_json::value::RawValue;

use super::says_nothing;
use crate::order::json::{self, Entries, Kind};

/// The extent that a list of IDs gives. Fields that the list does not mention are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many IDs there are in all.
    pub total: Option<u64>,
    /// How many IDs the list announces for itself, or in all.
    pub count: Option<u64>,
    /// How many are still to come, or still to be handed over.
    pub pending: Option<u64>,
    /// The number of this page.
    pub page: Option<u64>,
    /// The number of the last page.
    pub pages: Option<u64>,
    /// How many IDs fit on a page.
    pub per_page: Option<u64>,
    /// Whether another page follows.
    pub has_next: Option<bool>,
}

impl Extent {
    /// Whether a top-level key belongs to the extent.
    pub(super) fn is_named(name: &str) -> bool {
        Self::is_holder(name) || Self::default().note_member(name, RawValue::NULL)
    }

    /// Whether the object under this key may hold parts of the extent.
    fn is_holder(name: &str) -> bool {
        matches!(name, "metadata" | "meta" | "links" | "pagination" | "paging")
    }

    /// Records a top-level member, or the members of an object that may hold parts of the extent.
    pub(super) fn note(&mut self, name: &str, value: &RawValue) {
        if !Self::is_holder(name) {
            self.note_member(name, value);
        } else if let Some(members) = Entries::of(value).filter(|_| Kind::of(value) == Kind::Object) {
            for (name, value) in &members.0 {
                self.note_member(name, value);
            }
        }
    }

    /// Records a member; returns false if its name is unknown.
    fn note_member(&mut self, name: &str, value: &RawValue) -> bool {
        let number = |place: &mut Option<u64>| *place = place.or(whole(value));
        match plain(name).as_str() {
            "total" | "totaltransactionsfound" | "totalcount" | "totalitems" | "totalrecords" | "totalresults" => {
                number(&mut self.total);
            }
            "count" | "returned" | "returnedtransactions" => number(&mut self.count),
            "pendingtransactions" => number(&mut self.pending),
            "currentpage" | "page" | "pagenumber" => number(&mut self.page),
            "lastpage" | "totalpages" | "pagecount" | "pages" => number(&mut self.pages),
            "perpage" | "pagesize" | "limit" => number(&mut self.per_page),
            "hasmore" | "hasmorepages" | "hasnext" | "hasnextpage" | "next" | "nextpage" | "nextpageurl"
            | "nextcursor" => {
                let more = !says_nothing(value);
                self.has_next = Some(self.has_next.unwrap_or(false) || more);
            }
            _ => return false,
        }
        true
    }

    /// Fills the gaps of this extent from the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            total: self.total.or(other.total),
            count: self.count.or(other.count),
            pending: self.pending.or(other.pending),
            page: self.page.or(other.page),
            pages: self.pages.or(other.pages),
            per_page: self.per_page.or(other.per_page),
            has_next: self.has_next.or(other.has_next),
        }
    }

    /// Why a list of `ids` entries is incomplete, if its extent says so or contradicts it. `distinct` counts the
    /// different IDs; it is called only if needed.
    #[must_use]
    pub fn why_not_whole(&self, ids: usize, distinct: impl FnOnce() -> usize) -> Option<String> {
        let Self { total, count, pending, page, pages, per_page, has_next } = *self;
        let ids = ids as u64;
        if let Some(told) = total.or(count).filter(|told| *told != ids)
            && told != distinct() as u64
        {
            return Some(format!("it says that there are {told} orders, and names {ids}"));
        }
        if let Some(pages) = pages.filter(|pages| *pages > 1) {
            return Some(format!("it is page {} of {pages}", page.unwrap_or(1)));
        }
        if let Some(page) = page.filter(|page| *page > 1) {
            return Some(format!("it is page {page}"));
        }
        if has_next == Some(true) {
            return Some("it says that another page follows".to_owned());
        }
        if let (None, Some(pending @ 1..)) = (total, pending) {
            return Some(format!("it says that {pending} orders are still to come, and not how many there are"));
        }
        match per_page {
            Some(most @ 1..) if ids >= most && total.is_none() && pages.is_none() && has_next.is_none() => {
                Some(format!("it is a full page of {most}, and does not say that it is the only one"))
            }
            _ => None,
        }
    }
}

/// Normalises a name: lower case, without `_` and `-`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

/// An integer, as a number or as text, possibly as PHP writes a float.
fn whole(value: &RawValue) -> Option<u64> {
    let text = match Kind::of(value) {
        Kind::Number => value.get().into(),
        Kind::Text => json::text(value)?,
        _ => return None,
    };
    let text = text.trim();
    let digits = match text.split_once('.') {
        Some((digits, zeros)) if zeros.bytes().all(|digit| digit == b'0') => digits,
        _ => text,
    };
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::read_id_list;

    /// Why a list of 15 IDs with these members is incomplete.
    fn why(around: &str) -> Option<String> {
        let ids = (1..=15).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
        let list = read_id_list(format!(r#"{{"data":[{ids}]{around}}}"#).as_bytes()).unwrap();
        assert_eq!(list.ids.len(), 15, "{around}");
        list.extent.why_not_whole(15, || 14)
    }

    #[test]
    fn a_list_that_says_that_there_is_more_is_not_whole_however_it_says_so() {
        for around in [
            r#","metadata":{"total":40,"last_page":3}"#,
            r#","metadata":{"total":40}"#,
            r#","metadata":{"total":"40.0"}"#,
            r#","metadata":{"total_transactions_found":40,"returned_transactions":15,"pending_transactions":25}"#,
            r#","metadata":{"total_transactions_found":40}"#,
            r#","metadata":{"returned_transactions":15,"pending_transactions":25}"#,
            r#","metadata":{"current_page":1,"last_page":3,"per_page":15}"#,
            r#","metadata":{"per_page":15}"#,
            r#","metadata":{"current_page":2}"#,
            r#","metadata":{"count":40}"#,
            r#","total":40,"per_page":15,"current_page":1,"last_page":3,"next_page_url":"https://shop/ids?page=2""#,
            r#","current_page":1,"next_page_url":"https://shop/ids?page=2""#,
            r#","links":{"first":"/ids?page=1","next":"/ids?page=2"},"meta":{"total":15}"#,
            r#","meta":{"pagination":null},"pagination":{"totalPages":"3"}"#,
            r#","paging":{"hasMore":true}"#,
            r#","has_more":true"#,
            r#","data_is_elsewhere":1,"meta":{"count":15,"total":"40"}"#,
            r#","metadata":{"total":9}"#,
        ] {
            assert!(why(around).is_some(), "{around}");
        }
        assert_eq!(why(r#","metadata":{"total":40}"#).unwrap(), "it says that there are 40 orders, and names 15");
        assert_eq!(why(r#","meta":{"last_page":3,"current_page":1}"#).unwrap(), "it is page 1 of 3");
    }

    #[test]
    fn a_list_beside_its_extent_is_not_whole_either() {
        let list = read_id_list(&br#"{"data":{"ids":[1,2],"total":40,"last_page":20}}"#[..]).unwrap();
        assert_eq!((list.extent.total, list.extent.pages), (Some(40), Some(20)));
        let list = read_id_list(&br#"{"ids":[1,2],"total":40}"#[..]).unwrap();
        assert_eq!(list.extent.total, Some(40));
    }

    #[test]
    fn a_list_that_says_nothing_or_that_it_is_all_is_whole() {
        for around in [
            "",
            r#","metadata":null"#,
            r#","metadata":[]"#,
            r#","metadata":{"total":15,"last_page":1,"current_page":1,"per_page":15}"#,
            r#","metadata":{"total":14}"#,
            r#","metadata":{"total_transactions_found":15,"returned_transactions":15,"pending_transactions":12}"#,
            r#","metadata":{"per_page":50}"#,
            r#","metadata":{"pending_transactions":0}"#,
            r#","links":{"next":null},"meta":{"per_page":15,"next_page_url":null}"#,
            r#","has_more":false,"next":"""#,
            r#","metadata":{"total":"many","version":3}"#,
        ] {
            assert_eq!(why(around), None, "{around}");
        }
    }
}
