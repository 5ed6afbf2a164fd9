//! Reads the whole list of IDs, or fails: an incomplete list would hide missing orders.
//!
//! A list in pages may change while it is read. An order that is placed, or grows too old, moves the others from page
//! to page, and one may slip through. So all pages must report the same total, and that many orders must have come.
//! Also the first page, which moves whenever a list grows or shrinks at its ends, must be the same at the end as at the
//! beginning. Otherwise the list is read again.

use std::collections::HashSet;

use super::ask_error::AskError;
use crate::marketplace::body::{Extent, IdList};
use crate::order::ids::{Listed, OrderIds};

/// How often a list that changes meanwhile is read.
const ATTEMPTS: usize = 4;
/// Maximum pages: a limit for a marketplace that never ends its list.
const MAX_PAGES: u64 = 100_000;

/// Takes the list. `fetch` gets one page of it or, without page numbers, all of it.
pub(super) async fn take<A: Future<Output = Result<IdList, AskError>>>(
    in_pages: bool,
    fetch: impl Fn(Option<u64>) -> A,
) -> Result<OrderIds, AskError> {
    if !in_pages {
        let IdList { ids, extent } = fetch(None).await?;
        return match extent.why_not_whole(ids.len(), || distinct(&ids)) {
            // guard: a list that is not whole is refused
            Some(why) => Err(AskError::NotWhole(why)),
            None => Ok(ids),
        };
    }
    let mut changed = String::new();
    for _ in 0..ATTEMPTS {
        match Pages::default().read(&fetch).await? {
            PagedRead::Whole(ids) => return Ok(ids),
            PagedRead::Changed(how) => changed = how,
        }
    }
    Err(AskError::NotWhole(format!("it changes while its pages are read ({changed})")))
}

/// Counts the different orders in a list.
fn distinct(ids: &OrderIds) -> usize {
    ids.iter().map(Listed::as_str).collect::<HashSet<_>>().len()
}

enum PagedRead {
    Whole(OrderIds),
    /// The list changed; how that was detected.
    Changed(String),
}

/// What the pages have reported so far.
#[derive(Default)]
struct Pages {
    all: OrderIds,
    seen: HashSet<String>,
    first: OrderIds,
    total: Option<u64>,
}

impl Pages {
    async fn read<A: Future<Output = Result<IdList, AskError>>>(
        mut self,
        fetch: &impl Fn(Option<u64>) -> A,
    ) -> Result<PagedRead, AskError> {
        for number in 1..=MAX_PAGES {
            let IdList { ids, extent } = match fetch(Some(number)).await {
                // Some APIs answer 404 behind the last page.
                Err(error) if number > 1 && error.is_not_found() => IdList::default(),
                page => page?,
            };
            if number == 1 {
                (self.first, self.total) = (ids.clone(), extent.total);
            } else if extent.total != self.total && !ids.is_empty() {
                return Ok(PagedRead::Changed(format!("page {number} tells another total")));
            }
            let new_ids = self.take(&ids);
            if self.is_last(number, &ids, &extent) {
                return self.end(number, fetch).await;
            }
            if new_ids == 0 {
                let why = format!("page {number} names no other order than those before it, and is not the last one");
                return Err(AskError::NotWhole(why));
            }
        }
        Err(AskError::NotWhole(format!("it has more than {MAX_PAGES} pages")))
    }

    /// Adds the IDs of a page; returns how many are new.
    fn take(&mut self, ids: &OrderIds) -> usize {
        let before = self.seen.len();
        for id in ids.iter() {
            if self.seen.insert(id.as_str().to_owned()) {
                self.all.push(id);
            }
        }
        self.seen.len() - before
    }

    /// Whether this is the last page. A page without IDs is behind the last one.
    fn is_last(&self, number: u64, ids: &OrderIds, extent: &Extent) -> bool {
        let all_are_here = || self.total.is_some_and(|total| self.seen.len() as u64 >= total);
        ids.is_empty()
            || match (extent.pages, extent.has_next) {
                (Some(pages), _) => number >= pages,
                (None, Some(has_next)) => !has_next,
                (None, None) => all_are_here(),
            }
    }

    async fn end<A: Future<Output = Result<IdList, AskError>>>(
        self,
        pages: u64,
        fetch: &impl Fn(Option<u64>) -> A,
    ) -> Result<PagedRead, AskError> {
        let Self { all, first, total, .. } = self;
        if let Some(total) = total.filter(|total| *total != all.len() as u64) {
            return Ok(PagedRead::Changed(format!("{} of {total} orders came", all.len())));
        }
        if pages > 1 {
            let again = fetch(Some(1)).await?;
            // guard: a list that changed while its pages were read is read anew
            if again.ids != first || again.extent.total != total {
                return Ok(PagedRead::Changed("the first page has become another one".to_owned()));
            }
        }
        Ok(PagedRead::Whole(all))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A marketplace that gives its list in pages of 15. `before`: what happens to the list before each page is read.
    async fn take_paged(
        orders: u64,
        told: bool,
        before: impl Fn(u64, &mut Vec<u64>),
    ) -> (Result<OrderIds, AskError>, u64) {
        let state = RefCell::new((0, (1..=orders).collect::<Vec<u64>>()));
        let fetch = |page: Option<u64>| {
            let (fetched, list) = &mut *state.borrow_mut();
            *fetched += 1;
            before(*fetched, list);
            let page = page.unwrap();
            let ids = list.iter().skip((page as usize - 1) * 15).take(15).map(|id| id.to_string().parse().unwrap());
            let extent = Extent {
                total: told.then_some(list.len() as u64),
                pages: told.then_some(list.len().div_ceil(15).max(1) as u64),
                ..Extent::default()
            };
            std::future::ready(Ok(IdList { ids: ids.collect(), extent }))
        };
        let taken = take(true, fetch).await;
        (taken, state.into_inner().0)
    }

    fn numbers(list: &OrderIds) -> HashSet<u64> {
        list.iter().map(|id| id.as_str().parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_list_in_pages_is_read_to_its_last_page() {
        for (told, orders) in [(true, 40), (false, 40), (true, 15), (true, 0), (false, 0)] {
            let (taken, _) = take_paged(orders, told, |_, _| {}).await;
            assert_eq!(numbers(&taken.unwrap()), (1..=orders).collect(), "{orders} orders, told: {told}");
        }
    }

    #[tokio::test]
    async fn a_list_that_changes_between_its_pages_is_read_anew() {
        // An order grows too old and another is placed: the total stays, and order 16 would slip through.
        let shift = |fetched, list: &mut Vec<u64>| {
            if fetched == 2 {
                list.remove(0);
                list.push(99);
            }
        };
        let (taken, fetched) = take_paged(40, true, shift).await;
        assert_eq!(numbers(&taken.unwrap()), (2..=40).chain([99]).collect());
        assert!(fetched > 6, "it was read anew");
        let (taken, _) = take_paged(40, true, |fetched, list: &mut Vec<u64>| list.push(1000 + fetched)).await;
        let error = taken.unwrap_err().to_string();
        assert!(error.contains("it changes while its pages are read"), "{error}");
    }

    #[tokio::test]
    async fn a_marketplace_that_knows_no_such_parameter_is_found_out() {
        let fetch = |_| {
            let ids = (1..=15).map(|id| id.to_string().parse().unwrap()).collect();
            std::future::ready(Ok(IdList { ids, extent: Extent { total: Some(40), ..Extent::default() } }))
        };
        let error = take(true, fetch).await.unwrap_err().to_string();
        assert!(error.contains("page 2 names no other order"), "{error}");
    }

    #[tokio::test]
    async fn a_list_that_says_that_it_is_not_whole_is_refused() {
        let listed = |extent: Extent| {
            take(false, move |page| {
                assert_eq!(page, None);
                let ids = (1..=15).map(|id| id.to_string().parse().unwrap()).collect();
                std::future::ready(Ok(IdList { ids, extent: extent.clone() }))
            })
        };
        let error = listed(Extent { total: Some(40), ..Extent::default() }).await.unwrap_err();
        assert!(matches!(error, AskError::NotWhole(_)), "{error}");
        assert_eq!(listed(Extent { total: Some(15), ..Extent::default() }).await.unwrap().len(), 15);
    }
}
