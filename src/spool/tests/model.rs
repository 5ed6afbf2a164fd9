//! Random operations and crashes against a model of what recovery must find.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Op {
    Reserve,
    Write,
    WriteUnknown,
    Discard,
    Release,
    Settle,
    Upkeep,
    Crash,
}

#[derive(Default)]
struct Model {
    reserved: [VecDeque<Reservation>; 2],
    pages: Vec<Durable>,
    unknown: Vec<UnknownRead>,
}

impl Model {
    fn step(&mut self, spool: &Spool, op: Op, lane: usize) {
        match op {
            Op::Reserve => {
                if self.reserved[lane].is_empty() {
                    self.reserved[lane].push_back(announced(spool, ["bogota", "cali"][lane]));
                }
            }
            Op::Write => {
                if let Some(first) = self.reserved[lane].pop_front() {
                    let body = Bytes::from(first.read_id().to_string().repeat(200));
                    let (page, next) = wait(first.write(clock::now(), body)).unwrap();
                    self.pages.push(page);
                    self.reserved[lane].extend(next);
                }
            }
            Op::WriteUnknown => {
                if let Some(first) = self.reserved[lane].pop_front() {
                    self.unknown.push(wait(first.write_unknown("cut off", b"some")).unwrap());
                }
            }
            Op::Discard => {
                if let Some(last) = self.reserved[lane].pop_back() {
                    last.cancel().unwrap();
                }
            }
            Op::Release => {
                if !self.pages.is_empty() {
                    release(spool, self.pages.remove(0));
                }
            }
            Op::Settle => {
                if !self.unknown.is_empty() {
                    wait(spool.settle(self.unknown.remove(0))).unwrap();
                }
            }
            Op::Upkeep => spool.0.log.upkeep().unwrap(),
            Op::Crash => unreachable!("needs the spool itself"),
        }
    }

    /// Ends the process; the next one must find exactly what the model says.
    fn crash(&mut self, spool: Spool, dir: &Path) -> Spool {
        let expected_pages: BTreeSet<_> = self.pages.iter().map(Durable::read_id).collect();
        let in_flight = self.reserved.iter().filter_map(|lane| lane.front().map(Reservation::read_id));
        let expected_unknown: BTreeSet<_> = self.unknown.iter().map(|read| read.read_id).chain(in_flight).collect();
        self.reserved = Default::default();
        self.pages.clear();
        drop(spool);

        let (spool, recovery) = open(dir);
        assert_eq!(recovery.pages.iter().map(Durable::read_id).collect::<BTreeSet<_>>(), expected_pages);
        assert_eq!(recovery.unknown.iter().map(|read| read.read_id).collect::<BTreeSet<_>>(), expected_unknown);
        assert!(recovery.corrupt.is_empty());
        for page in &recovery.pages {
            assert_eq!(page.body().unwrap(), page.read_id().to_string().repeat(200));
        }
        assert!(recovery.pages.is_sorted_by_key(Durable::seq));
        (self.pages, self.unknown) = (recovery.pages, recovery.unknown);
        spool
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => Just(Op::Reserve),
        5 => Just(Op::Write),
        1 => Just(Op::WriteUnknown),
        1 => Just(Op::Discard),
        4 => Just(Op::Release),
        1 => Just(Op::Settle),
        2 => Just(Op::Upkeep),
        2 => Just(Op::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whatever_happens_the_next_process_finds_the_pages_and_the_reads_in_flight(
        ops in proptest::collection::vec((op(), 0..2_usize), 1..80),
    ) {
        let dir = TempDir::new().unwrap();
        let (mut spool, _) = open(dir.path());
        let mut model = Model::default();
        for (op, lane) in ops {
            match op {
                Op::Crash => spool = model.crash(spool, dir.path()),
                op => model.step(&spool, op, lane),
            }
        }
        model.crash(spool, dir.path());
    }
}
