//! What a whole answer to the destructive read says, and who has to act on it.

use super::{Counted, Message, Noise, Page, PageError};

/// What an answer that came to its end says.
#[derive(Debug, PartialEq, Eq)]
pub enum PageVerdict {
    /// It is a page with at least one record.
    Orders(PageSummary),
    /// It is a page without records.
    Empty(EmptyPage),
    /// It is a message in the place of a page. What it means is for whoever knows the path and the answers before; the
    /// sentence says why it is no page.
    Message(Message, String),
    /// It is no page, and orders may have been marked for it. A sentence without personal data.
    Unreadable(String),
}

/// What is known of a page without looking into its records.
#[derive(Debug, PartialEq, Eq)]
pub struct PageSummary {
    /// How many records it holds.
    pub records: usize,
    /// Orders that the marketplace says are still to be read.
    pub pending: Option<u64>,
    /// What it says of the orders around the page.
    pub counted: Counted,
    /// Set where the marketplace says that it returned another number of records than are there.
    pub disagreement: Option<PageError>,
    /// What stands beside the JSON.
    pub noise: Option<Noise>,
}

/// What a page without records says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmptyPage {
    /// Orders that the marketplace says are still to be read.
    pub pending: u64,
    /// The same, if it did say so, and what it found.
    pub counted: Counted,
    /// What stands beside the JSON.
    pub noise: Option<Noise>,
}

impl PageVerdict {
    /// What a whole body says.
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
        let (records, counted, disagreement) = (page.records.len(), page.counted(), page.disagreement());
        match disagreement {
            None if records == 0 => Self::Empty(EmptyPage { pending: page.pending.unwrap_or(0), counted, noise }),
            Some(error) if records == 0 => Self::Unreadable(error.to_string()),
            disagreement => Self::Orders(PageSummary { records, pending: page.pending, counted, disagreement, noise }),
        }
    }

    /// Why a body is no page, if it is none.
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
            PageVerdict::Orders(PageSummary { records: 2, pending, counted, disagreement, noise: None })
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
