//! Classifies a complete answer to the destructive read.

use super::{Counted, Message, Noise, Page, PageError, RecordPlaces};

/// What a complete answer is.
#[derive(Debug, PartialEq, Eq)]
pub enum PageVerdict {
    /// A page with at least one record.
    Orders(PageSummary),
    /// A page without records.
    Empty(EmptyPage),
    /// A message instead of a page, and why the body is not a page. What the message means depends on the path and on
    /// earlier answers.
    Message(Message, String),
    /// Not a page, though orders may have been marked for it. The reason has no personal data.
    Unreadable(String),
}

/// A page's counts, and where its records are, without a look into them.
#[derive(Debug, PartialEq, Eq)]
pub struct PageSummary {
    pub records: RecordPlaces,
    /// Orders still to be read, according to the marketplace.
    pub pending: Option<u64>,
    /// Orders pending before and after this page.
    pub counted: Counted,
    /// Set if the marketplace announced another number of records than the page holds.
    pub disagreement: Option<PageError>,
    /// Text around the JSON, if any.
    pub noise: Option<Noise>,
}

/// The counts of a page without records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmptyPage {
    /// Orders still to be read, according to the marketplace; 0 if it does not say.
    pub pending: u64,
    /// Orders pending before and after this page, if the marketplace gave counts.
    pub counted: Counted,
    /// Text around the JSON, if any.
    pub noise: Option<Noise>,
}

impl PageVerdict {
    /// Classifies a complete body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let page = match Page::parse(body) {
            Ok(page) => page,
            Err(error) => {
                let reason = format!("the answer can't be read: {error}");
                return match Message::of(body) {
                    Some(message) => Self::Message(message, reason),
                    None => Self::Unreadable(reason),
                };
            }
        };
        let noise = page.noise;
        let (records, counted, disagreement) = (RecordPlaces::of(&page, body), page.counted(), page.disagreement());
        match disagreement {
            None if records.is_empty() => Self::Empty(EmptyPage { pending: page.pending.unwrap_or(0), counted, noise }),
            Some(error) if records.is_empty() => Self::Unreadable(error.to_string()),
            disagreement => Self::Orders(PageSummary { records, pending: page.pending, counted, disagreement, noise }),
        }
    }

    /// Why a body is not a page, if it is not.
    #[must_use]
    pub fn why_no_page(body: &[u8]) -> Option<String> {
        match Self::of(body) {
            Self::Unreadable(reason) | Self::Message(_, reason) => Some(reason),
            Self::Orders(_) | Self::Empty(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(data: &str, found: u64, returned: u64, pending: u64) -> PageVerdict {
        let metadata = format!(
            r#"{{"total_transactions_found":{found},"returned_transactions":{returned},"pending_transactions":{pending}}}"#
        );
        PageVerdict::of(format!(r#"{{"data":{data},"metadata":{metadata}}}"#).as_bytes())
    }

    #[test]
    fn a_page_is_told_by_its_records_and_counts() {
        let counted = |before, after| Counted { before: Some(before), after: Some(after) };
        let orders = |pending, counted, disagreement| {
            // They are at the same places in all of these pages.
            let body = br#"{"data":[1,2]}"#;
            let records = RecordPlaces::of(&Page::parse(body).unwrap(), body);
            PageVerdict::Orders(PageSummary { records, pending, counted, disagreement, noise: None })
        };
        assert_eq!(page("[1,2]", 5, 2, 3), orders(Some(3), counted(5, 3), None));
        let disagreement = PageError::CountsDisagree { returned: 4, records: 2 };
        assert_eq!(page("[1,2]", 5, 4, 3), orders(Some(3), counted(5, 3), Some(disagreement)));
        assert_eq!(
            page("[]", 5, 0, 5),
            PageVerdict::Empty(EmptyPage { pending: 5, counted: counted(5, 5), noise: None })
        );
        assert_eq!(
            page("[]", 0, 0, 0),
            PageVerdict::Empty(EmptyPage { pending: 0, counted: counted(0, 0), noise: None })
        );
    }

    #[test]
    fn what_is_no_page_or_lost_its_records_is_unclear() {
        let reason = "the server says that it returned 2 records, and 0 are there";
        assert_eq!(page("[]", 2, 2, 0), PageVerdict::Unreadable(reason.to_owned()));
        for body in [&b"<html>"[..], b"", b"{\"data\":[{}", b"{\"status\":\"error\"}"] {
            let why = PageVerdict::why_no_page(body).unwrap();
            assert!(why.starts_with("the answer can't be read: the body is"), "{why}");
        }
        assert_eq!(PageVerdict::why_no_page(br#"{"data":[]}"#), None);
    }
}
