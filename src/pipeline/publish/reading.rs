//! Maps the records of queued work. Mapping needs neither index nor broker and takes as long as the rest of publishing.
//! So it runs on another thread, while the lane is busy with the previous transaction.

use super::{FetchedOrders, LaneError, StoreFacts, Stores, Work};
use crate::avro::event::ContentHash;
use crate::marketplace::body::{self, Page};
use crate::order::ids::{OrderId, StoreName};
use crate::order::{DeadLetter, Order};

/// A mapped record, or why it could not be mapped.
pub(super) enum MappedRecord {
    Order {
        order: Box<Order>,
        /// The order's content hash.
        content: ContentHash,
    },
    /// A record that could not be mapped, as it came.
    Letter(DeadLetter),
}

/// A piece of work with its mapped records, in their order.
pub(super) struct Mapped {
    pub(super) work: Work,
    pub(super) records: Vec<MappedRecord>,
}

impl Mapped {
    /// Maps a piece of work. Blocks: a recovered page is read from its file.
    ///
    /// # Errors
    /// A page that can't be read back, or whose store is not one of the lane's.
    pub(super) fn from_work(mut work: Work, stores: &Stores) -> Result<Self, LaneError> {
        let records = match &mut work {
            Work::Page(page) => {
                let records = read_page(&facts(stores, page.store())?, &page.body()?);
                page.drop_body();
                records
            }
            Work::Unspooled(page) => read_page(&facts(stores, &page.store)?, &page.body),
            Work::Fetched(fetched) => read_answers(&facts(stores, &fetched.store)?, fetched),
            Work::FindMissing(_) => Vec::new(),
        };
        Ok(Self { work, records })
    }
}

fn facts(stores: &Stores, store: &StoreName) -> Result<StoreFacts, LaneError> {
    stores.get(store).ok_or_else(|| LaneError::UnknownStore(store.clone()))
}

/// A body that no longer parses becomes one dead letter: it was read, so it must not be dropped.
fn read_page(facts: &StoreFacts, body: &[u8]) -> Vec<MappedRecord> {
    match Page::parse(body) {
        Ok(page) => page.records.iter().map(|record| record.order(&facts.mapping, facts.country).into()).collect(),
        Err(error) => vec![unreadable(None, body, format!("the page can't be read: {error}"))],
    }
}

fn read_answers(facts: &StoreFacts, fetched: &FetchedOrders) -> Vec<MappedRecord> {
    fetched.answers.iter().map(|(id, answer)| read_answer(facts, id, answer)).collect()
}

/// A record with another ID than it was fetched by is not the requested order, so it becomes a dead letter.
fn read_answer(facts: &StoreFacts, id: &OrderId, answer: &[u8]) -> MappedRecord {
    let record = match body::parse_single(answer) {
        Ok(record) => record,
        Err(error) => {
            let reason = format!("the answer for this order can't be read: {error}");
            return unreadable(Some(id.clone()), answer, reason);
        }
    };
    match record.order(&facts.mapping, facts.country) {
        Ok(order) if order.id != *id => MappedRecord::Letter(DeadLetter {
            id: Some(id.clone()),
            json: record.bytes().to_vec(),
            reason: "the marketplace answered with another order than it was asked for".to_owned(),
            pointer: String::new(),
        }),
        Ok(order) => Ok(order).into(),
        Err(letter) => MappedRecord::Letter(DeadLetter { id: letter.id.or_else(|| Some(id.clone())), ..letter }),
    }
}

fn unreadable(id: Option<OrderId>, body: &[u8], reason: String) -> MappedRecord {
    MappedRecord::Letter(DeadLetter { id, json: body.to_vec(), reason, pointer: String::new() })
}

impl From<Result<Order, DeadLetter>> for MappedRecord {
    fn from(read: Result<Order, DeadLetter>) -> Self {
        match read {
            Ok(order) => Self::Order { content: ContentHash::of(&order), order: Box::new(order) },
            Err(letter) => Self::Letter(letter),
        }
    }
}
