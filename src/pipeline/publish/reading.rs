//! Maps the records of queued work. Mapping needs neither index nor broker and takes as long as the rest of publishing.
//! So it runs on another thread, while the lane is busy with the previous transaction.

use super::{LaneError, StoreFacts, Stores, Work};
use crate::avro::event::{EncodedOrder, EventError, Origin};
use crate::marketplace::body::{self, Page, Record};
use crate::order::ids::OrderId;
use crate::order::{DeadLetter, Order};

/// A mapped record, or why it could not be mapped.
pub(super) enum MappedRecord {
    Order(EncodedOrder),
    /// A record that could not be mapped, as it came.
    Letter(DeadLetter),
}

/// A piece of work with its mapped records, in their order.
pub(super) struct Mapped {
    pub(super) work: Work,
    /// Where its orders come from; a query has none.
    pub(super) origin: Option<Origin>,
    pub(super) records: Vec<MappedRecord>,
}

impl Mapped {
    /// Maps a piece of work. Blocks: a recovered page is read from its file.
    ///
    /// # Errors
    /// A page that can't be read back, or whose store is not one of the lane's.
    pub(super) fn from_work(mut work: Work, stores: &Stores) -> Result<Self, LaneError> {
        let (read_id, read_at) = match &work {
            Work::Page(page, _) => (page.read_id(), page.read_at()),
            Work::Unspooled(page) => (page.read_id, page.read_at),
            Work::Fetched(fetched) => (fetched.read_id, fetched.read_at),
            Work::FindMissing(_) => return Ok(Self { work, origin: None, records: Vec::new() }),
        };
        let facts = stores.get(work.store()).ok_or_else(|| LaneError::UnknownStore(work.store().clone()))?;
        let mapper =
            Mapper { facts: &facts, origin: Origin::new(work.store().clone(), facts.country, read_id, read_at) };
        let records = match &mut work {
            Work::Page(page, places) => {
                let body = page.body()?;
                let records = match places.take() {
                    Some(places) => mapper.map(places.records(&body)),
                    None => mapper.map_page(&body),
                };
                page.drop_body();
                records
            }
            Work::Unspooled(page) => mapper.map(page.records.records(&page.body)),
            Work::Fetched(fetched) => {
                fetched.answers.iter().map(|(id, answer)| mapper.map_answer(id, answer)).collect()
            }
            Work::FindMissing(_) => Ok(Vec::new()),
        };
        Ok(Self { records: records?, origin: Some(mapper.origin), work })
    }
}

/// Maps the records of one read.
struct Mapper<'a> {
    facts: &'a StoreFacts,
    origin: Origin,
}

impl Mapper<'_> {
    fn map<'r>(&self, records: impl Iterator<Item = Record<'r>>) -> Result<Vec<MappedRecord>, EventError> {
        records.map(|record| self.encoded(self.order(record))).collect()
    }

    /// A body that no longer parses becomes one dead letter: it was read, so it must not be dropped.
    fn map_page(&self, body: &[u8]) -> Result<Vec<MappedRecord>, EventError> {
        match Page::parse(body) {
            Ok(page) => self.map(page.records.into_iter()),
            Err(error) => Ok(vec![unreadable(None, body, format!("the page can't be read: {error}"))]),
        }
    }

    /// A record with another ID than it was fetched by is not the requested order, so it becomes a dead letter.
    fn map_answer(&self, id: &OrderId, answer: &[u8]) -> Result<MappedRecord, EventError> {
        let record = match body::parse_single(answer) {
            Ok(record) => record,
            Err(error) => {
                let reason = format!("the answer for this order can't be read: {error}");
                return Ok(unreadable(Some(id.clone()), answer, reason));
            }
        };
        self.encoded(match self.order(record) {
            Ok(order) if order.id != *id => Err(DeadLetter {
                id: Some(id.clone()),
                json: record.bytes().to_vec(),
                reason: "the marketplace answered with another order than it was asked for".to_owned(),
                pointer: String::new(),
            }),
            Err(letter) => Err(DeadLetter { id: letter.id.or_else(|| Some(id.clone())), ..letter }),
            order => order,
        })
    }

    fn order(&self, record: Record<'_>) -> Result<Order, DeadLetter> {
        record.order(&self.facts.mapping, self.facts.country)
    }

    fn encoded(&self, order: Result<Order, DeadLetter>) -> Result<MappedRecord, EventError> {
        match order {
            Ok(order) => EncodedOrder::of(&self.origin, &order, self.facts.readers).map(MappedRecord::Order),
            Err(letter) => Ok(MappedRecord::Letter(letter)),
        }
    }
}

fn unreadable(id: Option<OrderId>, body: &[u8], reason: String) -> MappedRecord {
    MappedRecord::Letter(DeadLetter { id, json: body.to_vec(), reason, pointer: String::new() })
}
