"""The guards that the promise rests on: where each stands, what the code is without it, and the test that notices."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    name: str
    file: str
    old: str
    new: str
    test: str
    suite: str = "lib"

    def target(self):
        return ["--lib"] if self.suite == "lib" else ["--test", self.suite]


SIM = "whatever_goes_wrong_nothing_is_lost_and_nothing_doubled"
REPLAY = "replay::an_order_in_pages_that_wait_is_published_for_each_of_them_however_often_they_are_replayed"

GUARDS = [
    # The read.
    Guard("no read without a ready lane", "src/drain.rs",
          "Ok(place) if *lane.status.borrow() == LaneState::Ready => return Some(place),\n                Ok(place) => place,",
          "Ok(place) => return Some(place),",
          "outage::while_the_broker_is_away_orders_stay_on_the_marketplace", "it"),
    Guard("a file before the read", "src/spool.rs",
          "match reservation.take_name().and_then(|()| disk::sync_data(&*reservation.file, &reservation.path)) {",
          "drop(std::fs::remove_file(&reservation.path));\n        match Ok(()) {",
          "kill::a_kill_at_any_place_loses_nothing_that_was_durable_and_doubles_nothing", "it"),
    Guard("a trace of each unknown read", "src/drain.rs",
          "let unknown = reservation.write_unknown(&outcome.reason, &outcome.partial);",
          "let unknown = reservation.write_unknown(&outcome.reason, &outcome.partial);\n"
          "        if let Ok(read) = &unknown { drop(std::fs::remove_file(&read.path)); }",
          "faults::reads_with_an_unknown_outcome_leave_a_trace_and_the_others_are_published", "it"),
    Guard("what is no page is a read of unknown outcome", "src/drain.rs",
          "self.put_on_account(durable.disown(&reason)?, PAGE)?;", "drop(place.send(Work::Page(durable)));",
          "faults::reads_with_an_unknown_outcome_leave_a_trace_and_the_others_are_published", "it"),
    Guard("what a kill left is looked into", "src/app.rs",
          "        recovery.disown(Said::why_no_page)?;\n", "        drop(recovery.disown(|_| None));\n",
          "kill::an_answer_that_nobody_had_looked_into_when_the_process_was_killed_is_no_page_to_the_next", "it"),
    Guard("the reservation is durable before the read", "src/spool.rs",
          ".and_then(|()| disk::sync_data(&*reservation.file, &reservation.path))", "",
          SIM, "sim"),
    Guard("the page is durable before the next read", "src/spool/reservation.rs",
          "        disk::write_at(&*self.file, &self.path, BODY, body)?;\n        disk::sync_data(&*self.file, &self.path)\n",
          "        disk::write_at(&*self.file, &self.path, BODY, body)\n",
          SIM, "sim"),
    Guard("a page that is let go stays gone", "src/spool.rs",
          "        disk::write_at(&*file, path, 0, &format::free_head())?;\n        disk::sync_data(&*file, path)?;\n",
          "        disk::write_at(&*file, path, 0, &format::free_head())?;\n",
          SIM, "sim"),
    Guard("a torn page is no page", "src/spool/format.rs",
          "if seal.render(head, body) != block {", "if body.len() > space.len() {",
          "spool::tests::format::"),
    Guard("a page that the disk refuses goes to Kafka from memory", "src/drain.rs",
          "        drop(place.send(work));\n        DrainError::PageNotKept(why)",
          "        drop((place, work));\n        DrainError::PageNotKept(why)",
          "disk::a_disk_that_turns_read_only_under_a_page_that_was_just_read_does_not_keep_it_from_kafka", "it"),
    Guard("one process for each spool", "src/disk.rs",
          "        file.try_lock()?;\n", "",
          "ownership::a_second_process_on_the_same_spool_is_refused", "it"),
    # The decision.
    Guard("a page that is replayed is known", "src/publish/decide.rs",
          "    if known.read == read {\n        return Decision::Replayed;\n    }\n", "",
          "kill::a_kill_at_any_place_loses_nothing_that_was_durable_and_doubles_nothing", "it"),
    Guard("an order of two pages is in two transactions", "src/publish/plan.rs",
          "        if self.overlay.get(key).is_some_and(|entry| entry.read != origin.read_id.into()) {\n"
          "            self.clash = true;\n            return Decision::NothingToDo;\n        }\n", "",
          REPLAY, "it"),
    Guard("an order that waits for the next transaction is in it", "src/publish/plan.rs",
          "            self.clash = true;\n", "",
          REPLAY, "it"),
    # The transaction.
    Guard("read on after a failed transaction", "src/publish/publisher.rs",
          "        self.catch_up()?;\n        fail_point::reach(\"loaded\");",
          "        if self.index.is_empty() { self.catch_up()?; }\n        fail_point::reach(\"loaded\");",
          SIM, "sim"),
    Guard("tracking records beside the events", "src/publish/publisher.rs",
          "        open.producer.deliver(&tracking).await?;\n", "",
          "kill::a_kill_at_any_place_loses_nothing_that_was_durable_and_doubles_nothing", "it"),
    Guard("the index takes over what was committed", "src/publish/publisher.rs",
          "self.index.apply(Record::new(key.to_string().as_bytes(), Some(entry)));", "drop((key, entry));",
          REPLAY, "it"),
    Guard("what was read before a connection broke is in the index", "src/publish/load.rs",
          "    fn drop(&mut self) {\n        self.send();\n    }", "    fn drop(&mut self) {}",
          "publish::load::tests::what_was_read_before_a_connection_broke_is_in_the_index_and_the_rest_follows"),
    Guard("an order's own date must be past the retention", "src/publish/retention.rs",
          "tracking.order_created_at.map_or(tracking.published_at, |placed| placed.max(tracking.published_at))",
          "tracking.published_at",
          "an_order_is_as_old_as_the_later_of_its_record_and_its_date"),
    Guard("a listed order is not forgotten", "src/publish/retention.rs",
          "            } else if !is_listed(&key) {\n", "            } else {\n",
          "an_order_that_is_listed_is_not_forgotten_however_old_it_looks"),
    Guard("the fence before the load", "src/publish/publisher.rs",
          "        let producer = self.parts.broker.open(self.parts.lane, OPEN_DEADLINE).await?;\n"
          "        fail_point::reach(\"fenced\");\n        self.catch_up()?;\n",
          "        self.catch_up()?;\n        tokio::task::yield_now().await;\n"
          "        let producer = self.parts.broker.open(self.parts.lane, OPEN_DEADLINE).await?;\n"
          "        fail_point::reach(\"fenced\");\n",
          SIM, "sim"),
    Guard("the release after the commit", "src/publish/commit.rs",
          "    producer.commit().await?;\n", "    producer.commit().await.ok();\n",
          SIM, "sim"),
    Guard("pages have left the spool before the next commit", "src/publish/release.rs",
          "            let ended = running.ended().await;\n"
          "            self.failed = self.failed.take().or(ended.err());\n", "            drop(running);\n",
          "publish::release::"),
    Guard("a page in memory is not given up for one that can't be let go", "src/publish/publisher.rs",
          "Err(error) if self.has_unspooled() && plan.is_news()", "Err(error) if false",
          "disk::a_page_that_a_failed_disk_does_not_let_go_keeps_no_page_in_memory_from_kafka", "it"),
    Guard("a transaction that was given up says why", "src/kafka/transaction.rs",
          "            RDKafkaErrorCode::PurgeQueue => self.why_purged(\"delivering a record\"),\n", "",
          "broker::a_user_that_may_not_write_ends_a_drain_with_advice_and_keeps_what_was_read", "it"),
    Guard("a fenced lane is not taken back", "src/kafka/error.rs",
          "!matches!(self, Self::Passing { .. })", "!matches!(self, Self::Passing { .. } | Self::Fenced { .. })",
          "ownership::a_second_instance_fences_the_first_and_nothing_is_doubled", "it"),
    # The tracking topic.
    Guard("an emptied tracking topic is refused", "src/tracking_memory.rs",
          "if is_empty && remembered.published_through.contains(&lane) {", "if false {",
          "broker::a_tracking_topic_that_was_deleted_is_noticed_before_anything_is_doubled", "it"),
    Guard("a repartitioned tracking topic is refused", "src/tracking_memory.rs",
          "if remembered.lanes != lanes {", "if false {",
          "broker::a_tracking_topic_that_was_given_more_partitions_is_refused_before_anything_is_read", "it"),
    Guard("a store keeps its lane", "src/tracking_memory.rs",
          "xxh3_64(name) % lanes", "(xxh3_64(name) + 1) % lanes",
          "tracking_memory::", "lib"),
    Guard("the topic's policy is checked", "src/kafka/topics.rs",
          "        Some(\"compact\") => Ok(()),\n", "        Some(_) => Ok(()),\n",
          "commands::topics_are_created_and_checked_and_a_wrong_one_is_refused", "it"),
    # The reconciler.
    Guard("drained to nothing pending, after the list", "src/reconcile.rs",
          "quiet = quiet.after(at) => if !quiet { return Err(ReconcileError::DrainGone) },",
          "quiet = async { let _ = (&quiet, at); true } => if !quiet { return Err(ReconcileError::DrainGone) },",
          "reconcile::a_read_that_was_in_flight_when_the_list_was_taken_does_not_tell_what_is_pending", "it"),
    Guard("list, then drain", "src/app/store.rs",
          "        let listed = self.reconciler.list().await?;\n        self.drain.clone().run().await?;\n",
          "        self.drain.clone().run().await?;\n        let listed = self.reconciler.list().await?;\n",
          "reconcile::", "it"),
    Guard("gone only with proof", "src/reconcile/repair.rs",
          "        if proven {\n", "        if proven || true {\n",
          "reconcile::a_wrong_path_of_orders_is_named_and_no_order_is_taken_for_gone", "it"),
    Guard("an unknown read is settled by a clean pass alone", "src/reconcile.rs",
          "(summary.failed == 0 && summary.listed > 0).then_some(covers)", "Some(covers)",
          "reconcile::an_order_that_always_fails_keeps_the_unknown_read_noted_and_is_found_by_the_next_pass", "it"),
    # The account of losses.
    Guard("an entry stays until the trace of its read is gone", "src/account/ledger.rs",
          " || gap.reads.iter().any(|read| is_traced(read.read_id))", "",
          "account::"),
    Guard("a replayed page is ticked off once", "src/account/ledger.rs",
          "        gaps.iter_mut().for_each(|gap| gap.forget_arrivals(page));\n", "",
          "account::"),
    Guard("a killed pass is ticked off by the next", "src/account.rs",
          "            ledger.tick(store, earlier);\n", "",
          "account::"),
    Guard("certain losses are ticked off first", "src/account/gap.rs",
          "Helping::First => marked.at_least,", "Helping::First => marked.at_most,",
          "account::"),
    Guard("a note is believed for its own read alone", "src/account.rs",
          "next.is_none_or(|next| next == read.read_id)", "next.is_none_or(|_| true)",
          "account::"),
    Guard("a page that was kept before a kill is an answer", "src/account.rs",
          "                    if let Some(gap) = self.unanswered(store) {\n                        gap.answer(counted.before);\n                    }\n                    last",
          "                    last",
          "account::"),
    Guard("a list that came too late proves nothing", "src/account/gap.rs",
          "(SignedDuration::from_mins(-1)..LISTED).contains(&age)", "age >= SignedDuration::from_mins(-1)",
          "account::"),
    Guard("a clock that was set back proves nothing", "src/account/gap.rs",
          "(SignedDuration::from_mins(-1)..LISTED).contains(&age)", "age < LISTED",
          "clock::a_clock_that_is_8_days_behind_loses_and_doubles_nothing_and_makes_the_account_no_surer", "it"),
    # The short way of reading a tracking record.
    Guard("a record is its key's", "src/tracking/brief.rs",
          "if key_store != store || key_id != id || key[store.len()] != b'/' {", "if key_store.len() + key_id.len() == 0 {",
          "tracking::brief::"),
    # Bounds.
    Guard("a body has a limit", "src/api.rs",
          "Ok(Some(chunk)) if body.len() + chunk.len() > self.options.max_body => {", "Ok(Some(_)) if false => {",
          "faults::an_answer_beyond_the_limits_is_an_unknown_outcome", "it"),
]
