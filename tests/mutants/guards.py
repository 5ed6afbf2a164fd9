"""The guards that the promise rests on: what the code is without each, and the test that notices.

A guard stands under a comment `// guard: NAME` in `src/`; `edits.py` says what can be done to the code after it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edits import body, drop, head, instead, items, part


@dataclass(frozen=True)
class Guard:
    name: str
    edit: Callable[[str, int], str]
    test: str
    suite: str = "lib"

    def target(self):
        return ["--lib"] if self.suite == "lib" else ["--test", self.suite]


SIM = "whatever_goes_wrong_nothing_is_lost_and_nothing_doubled"
SHARED = "whatever_befalls_instances_that_share_the_lanes_nothing_is_lost_and_nothing_doubled"
LOSING = "whatever_befalls_a_log_that_loses_segments_nothing_is_lost_and_nothing_doubled"
REPLAY = "replay::an_order_in_pages_that_wait_is_published_for_each_of_them_however_often_they_are_replayed"
KILL = "kill::a_kill_at_any_place_loses_nothing_that_was_durable_and_doubles_nothing"
ACLS = "acls::with_the_acls_of_the_readme_everything_works_and_each_one_that_is_missing_is_named"

GUARDS = [
    # The read.
    Guard("no read without a ready lane", instead("let is_ready = || true;"),
          "outage::while_the_broker_is_away_orders_stay_on_the_marketplace", "it"),
    Guard("space before the read", instead("self.0.log.claim().ok();"), "spool::tests::faults::"),
    Guard("a spool that was taken away is met before the read", drop(),
          "network::a_spool_that_is_removed_under_a_running_program_ends_it_and_loses_nothing", "it"),
    Guard("that a process polls is durable before it does", instead("let told = self.write(Some(clock::now()));"), SIM, "sim"),
    Guard("only a poll goes without an announcement", instead("true"), SIM, "sim"),
    Guard("polls that were cut off are looked for", instead("let is_cut_off = false;"),
          "account::a_program_that_is_killed_while_nothing_is_pending_raises_no_alarm", "it"),
    Guard("a trace of each unknown read", items(2, "drop((reservation, at_most));\nOk(())"),
          "faults::reads_with_an_unknown_outcome_leave_a_trace_and_the_others_are_published", "it"),
    Guard("what is no page is a read of unknown outcome", items(2, "course.hand_off = Some(Work::Page(durable, None));"),
          "faults::reads_with_an_unknown_outcome_leave_a_trace_and_the_others_are_published", "it"),
    Guard("what a kill left is looked into", instead("recovery.disown(&spool, |_| None).await?;"),
          "kill::an_answer_that_nobody_had_looked_into_when_the_process_was_killed_is_no_page_to_the_next", "it"),
    Guard("no second page hides beside the one that is read", head("false"),
          "body::tests::a_body_in_which_nobody_can_tell_the_page_is_none"),
    Guard("a broken byte is part of no ID", drop(), "body::tests::an_id_with_a_byte_that_is_no_text_is_none"),
    Guard("a wrong path is no empty shop", head("false"),
          "bodies::a_404_is_no_empty_shop_before_the_path_has_proved_itself", "it"),
    Guard("a marketplace that is away is not read", head("true"),
          "bodies::a_marketplace_that_is_away_for_long_leaves_few_and_small_traces", "it"),
    Guard("an answer that is kept back is an unknown outcome", head("false"),
          "bodies::an_answer_that_a_firewall_keeps_back_is_a_read_of_unknown_outcome", "it"),
    Guard("a segment that is gone is told", part("pair[0].contents.number + 1", "u64::MAX - 1"),
          "spool::tests::faults::a_segment_that_is_gone"),
    Guard("a list that does not end holds no thread of the pool", instead("let started = Ok::<_, io::Error>(tokio::task::spawn_blocking(read));"),
          "list::tests::lists_that_do_not_end"),
    Guard("a lost segment is noticed", instead("let gone = BTreeSet::new();"), LOSING, "sim"),
    Guard("a pass that covers the last read of an entry covers the entry", part(".last()", ".first()"),
          "account::tests::an_entry_that_grew"),
    Guard("shops whose answers hang do not stop the others", drop(),
          "pace::tests::answers_that_hang_make_room_for_others_and_not_for_ever_more"),
    Guard("a record that is refused stops its store alone", part("may_park", "false"),
          "broker::a_store_whose_record_kafka_refuses_waits_alone_and_goes_on_when_kafka_takes_it", "it"),
    Guard("who may not see a buyer does not", instead("write_order(&mut datum, order)?;"), "avro::event::tests::who_may"),
    Guard("a page that was left is no news where another instance has published since", head("false"), SHARED, "sim"),
    Guard("the group is asked before a lane is taken", head("true"), SHARED, "sim"),
    Guard("where a lane was taken over is known before its first read", drop(), SHARED, "sim"),
    Guard("what is left of an earlier time is published before the first read", head("false"), SHARED, "sim"),
    Guard("pages of a lane that is another instance's are published", head("false"), SHARED, "sim"),
    Guard("reads of a lane that is another instance's are looked into", part("is_of_lane(store) &&", "false &&"), SHARED,
          "sim"),
    Guard("a read of a lane that is another instance's is settled when nothing listed is missing", head("false"),
          "audit::reads_that_a_kill_cut_off_are_looked_into_while_their_lane_is_anothers_who_is_not_fenced", "it"),
    Guard("a lane that another instance had in between is counted anew", head("false"),
          "audit::orders_that_another_instance_has_found_are_no_certain_loss_when_the_lane_comes_back", "it"),
    Guard("what another instance leaves pending is not compared", drop(),
          "account::tests::what_is_pending_after_another_instance_has_read_says_nothing_of_a_read_before"),
    Guard("a lane is let go when all of it is published", instead("let is_served = |_: &i32| false;"), SHARED, "sim"),
    Guard("pages of a store that was removed are published after a restart", drop(),
          "stores::pages_of_a_store_that_was_removed_are_published_by_a_drain_and_by_a_service", "it"),
    Guard("a deleted tracking topic is refused by an instance that never saw it", head("false"),
          "shared::a_tracking_topic_that_was_deleted_is_refused_by_an_instance_that_never_saw_it", "it"),
    Guard("an instance that comes back in time is the one that went", drop(),
          "shared::restarts_within_the_sessions_time_move_no_lane", "it"),
    Guard("a read is announced durably before it is made", instead("{ drop(ticket); Ok(()) }"), SIM, "sim"),
    Guard("the page is durable before the next read", instead("let result = Ok::<(), SpoolError>(());"), SIM, "sim"),
    Guard("a page that is let go stays gone", drop(), "spool::tests::"),
    Guard("a torn page is no page", head("false"), "spool::tests::format::"),
    Guard("a torn frame is no frame", instead("let is_whole = body.end <= segment.len();"), "spool::tests::frames::"),
    Guard("a page that the disk refuses goes to Kafka from memory", instead("drop(work);"),
          "disk::a_disk_that_turns_read_only_under_a_page_that_was_just_read_does_not_keep_it_from_kafka", "it"),
    Guard("one process for each spool", drop(), "ownership::a_second_process_on_the_same_spool_is_refused", "it"),
    # The decision.
    Guard("a page that is replayed is known", drop(), KILL, "it"),
    Guard("an order of two pages is in two transactions", drop(), REPLAY, "it"),
    Guard("an order that waits for the next transaction is in it", drop(), REPLAY, "it"),
    # The transaction.
    Guard("read on after a failed transaction", items(1, "if self.index.is_empty() { {1} }"), SIM, "sim"),
    Guard("tracking records beside the events", drop(), KILL, "it"),
    Guard("the index takes over what was committed", instead("drop((key, entry));"), REPLAY, "it"),
    Guard("what was read before a connection broke is in the index", body(""),
          "publish::load::tests::what_was_read_before_a_connection_broke_is_in_the_index_and_the_rest_follows"),
    Guard("nothing is published while the registry has forgotten the schemas", instead("drop((before, why));"),
          "schemas::watch::tests::what_may_not_be_registered_is_waited_for"),
    Guard("an idle lane learns that the registry has forgotten the schemas", drop(),
          "schemas::while_a_registry_has_forgotten_what_may_not_be_registered_nothing_is_read_and_it_is_not_ready", "it"),
    Guard("a forgotten schema is framed by its new ID", drop(),
          "schemas::watch::tests::what_was_forgotten_is_registered_anew_and_framed_by_its_new_id"),
    Guard("a record that its key does not name is nobody's", part("key", 'b"bogota/7"'),
          "publish::load::tests::a_registry_that_forgot_or_names_another_schema_does_not_keep_a_program_from_its_own_records"),
    Guard("an order's own date must be past the retention", body("tracking.published_at"),
          "an_order_is_as_old_as_the_later_of_its_record_and_its_date"),
    Guard("a listed order is not forgotten", part("!is_listed(&key)", "true"),
          "an_order_that_is_listed_is_not_forgotten_however_old_it_looks"),
    Guard("a lane opens once there is a connection", drop(), "broker::lanes_open_without_a_second_attempt", "it"),
    Guard("the fence before the load", items(3, "{3}\ntokio::task::yield_now().await;\n{1}\n{2}"), SIM, "sim"),
    Guard("what is not committed is not shown as published", items(6, "{4}\n{5}\n{6}\n{1}\n{2}\n{3}"), SIM, "sim"),
    Guard("the release after the commit", part("?", ".ok()"), SIM, "sim"),
    Guard("pages have left the spool before the next commit", items(2, "drop(removal);"), "publish::release::"),
    Guard("a page in memory is not given up for one that can't be let go", head("false"),
          "disk::a_page_that_a_failed_disk_does_not_let_go_keeps_no_page_in_memory_from_kafka", "it"),
    Guard("a transaction that was given up says why", drop(),
          "broker::a_user_that_may_not_write_any_more_ends_a_run_with_advice_and_keeps_what_was_read", "it"),
    Guard("a commit does not wait for a dead broker without end",
          part("self.connection.transaction_timeout", "rdkafka::util::Timeout::Never"),
          "outage::a_commit_does_not_wait_without_end_for_a_broker_that_is_killed", "it"),
    Guard("an instance that stops with pages left says so", drop(),
          "outage::an_instance_of_a_group_can_be_stopped_while_the_broker_is_dead", "it"),
    Guard("a fenced lane is not taken back", part("Self::Passing", "Self::Fenced { .. } | Self::Passing"),
          "ownership::a_second_instance_fences_the_first_and_nothing_is_doubled", "it"),
    # The connection.
    Guard("a secret reaches every client", part("value", 'if key.contains("password") { "***" } else { value }'),
          "kafka::settings::"),
    Guard("a service goes on trying with wrong credentials", part(" | Self::NoConnection { .. }", ""),
          "secured::a_service_says_why_it_can_t_connect_at_each_try_and_goes_on_once_it_can", "it"),
    Guard("one broker with a bad certificate ends nothing", part("record.all_down && ", ""), "kafka::reasons::"),
    Guard("a broker that hangs up for a moment is waited for", part("BELIEVED_AFTER", "std::time::Duration::ZERO"),
          "kafka::reasons::"),
    # The tracking topic.
    Guard("an emptied tracking topic is refused", head("false"),
          "broker::a_tracking_topic_that_was_deleted_is_noticed_before_anything_is_doubled", "it"),
    Guard("a repartitioned tracking topic is refused", head("false"),
          "broker::a_tracking_topic_that_was_given_more_partitions_is_refused_before_anything_is_read", "it"),
    Guard("a store keeps its lane", part("xxh3_64(name)", "(xxh3_64(name) + 1)"), "tracking_memory::"),
    Guard("the topic's policy is checked", part('"compact"', "_"),
          "commands::topics_are_created_and_checked_and_a_wrong_one_is_refused", "it"),
    # What a broker with an authoriser allows.
    Guard("an answer without settings is no value", head("true"),
          "acls::whoever_may_do_nothing_is_told_of_every_topic_what_is_needed", "it"),
    Guard("a hidden topic is not called missing", part("Err(code)", "Ok(None)"),
          "acls::whoever_may_do_nothing_is_told_of_every_topic_what_is_needed", "it"),
    Guard("whether topics can be written to is known before a read", part("ensure_writable", "ensure"), ACLS, "it"),
    Guard("whether the tracking topic can be read is known before a read", drop(), ACLS, "it"),
    Guard("a group that is never joined need not be allowed", body("false"), ACLS, "it"),
    Guard("no more replicas have to be in sync than there are", part(".min(topic.replicas)", ""),
          "doctor::a_doctor_does_not_say_that_nothing_can_be_written_where_a_drain_has_just_written", "it"),
    # The reconciler.
    Guard("drained to nothing pending, after the list",
          part("caught_up.after(at)", "async { let _ = (&caught_up, at); true }"),
          "reconcile::a_read_that_was_in_flight_when_the_list_was_taken_does_not_tell_what_is_pending", "it"),
    Guard("list, then drain", items(2, "{2}\n{1}"), "reconcile::", "it"),
    Guard("gone only with proof", head("true"),
          "reconcile::a_wrong_path_of_orders_is_named_and_no_order_is_taken_for_gone", "it"),
    Guard("an unknown read is settled by a clean pass alone", part("summary.failed == 0 && summary.listed > 0", "true"),
          "reconcile::an_order_that_always_fails_keeps_the_unknown_read_noted_and_is_found_by_the_next_pass", "it"),
    # The account of losses.
    Guard("an entry stays until the trace of its read is gone", part("is_traced(read.read_id)", "false"), "account::"),
    Guard("a replayed page is ticked off once", drop(), "account::"),
    Guard("a killed pass is ticked off by the next", drop(), "account::"),
    Guard("certain losses are ticked off first", part("at_least", "at_most"), "account::"),
    Guard("a note is believed once", drop(), "account::"),
    Guard("a page that was kept before a kill is an answer", drop(), "account::"),
    Guard("a list that came too late proves nothing", part("LISTED", "SignedDuration::MAX"), "account::"),
    Guard("a clock that was set back proves nothing", part("SignedDuration::from_mins(-1)", "SignedDuration::MIN"),
          "clock::a_clock_that_is_8_days_behind_loses_and_doubles_nothing_and_makes_the_account_no_surer", "it"),
    Guard("an order that was tracked before is not certainly missing", part("looked.known", "0"), "account::"),
    Guard("what is only possible lapses", drop(), "account::"),
    # The list, and the marketplace's pace.
    Guard("a list that is not whole is refused", instead("Some(_) => Ok(ids),"), "reconcile::whole_list::"),
    Guard("a list that changed while its pages were read is read anew", head("false"), "reconcile::whole_list::"),
    Guard("what was sent is never taken for not sent", part("connections::was_not_sent(&error)", "true"),
          "connections::tests::a_read_is_never_sent_twice_however_its_connection_ends"),
    Guard("one shop's 429 is not the host's", part("busy_stores.len() >= SEVERAL", "true"),
          "pace::tests::several_shops_with_a_429_slow_down_their_host_and_two_do_not"),
    Guard("a 429 is waited out", part(".is_hopeless", ".pause > std::time::Duration::ZERO"), "reconcile::ask::"),
    Guard("a drain that could not fetch all says so", part("1..", "u64::MAX.."),
          "reconcile::a_drain_that_could_not_fetch_all_that_was_missing_says_how_many_and_ends_with_11", "it"),
    # The short way of reading a tracking record.
    Guard("a record is its key's", head("false"), "tracking::entry::"),
    # The mapping.
    Guard("a guess costs no order", head("false"),
          "mapping::tests::a_default_place_that_holds_a_value_of_another_kind_is_passed_over_and_the_value_travels"),
    Guard("a place that was set is meant", part("places.is_guess() && ", ""),
          "mapping::tests::a_place_that_was_set_is_meant_whatever_it_holds"),
    Guard("text was never a float", part("amount::parse", "amount::parse_number"),
          "mapping::tests::what_cannot_be_understood_is_a_dead_letter_that_says_where"),
    Guard("a float stays as it came", head("true"),
          "mapping::tests::an_amount_that_was_a_float_is_read_as_the_decimal_that_it_was_and_stays_as_it_came"),
    Guard("an ID is not one of several", part("<", "<="),
          "ids::tests::an_order_id_that_came_as_a_float_is_the_whole_number_of_its_value"),
    Guard("a zero date is no date", part("EARLIEST", "Timestamp::MIN"),
          "mapping::date::tests::what_cannot_be_read_is_kept_and_has_no_instant"),
    # The fake shop.
    Guard("what was handed over is remembered before the answer", head("false"), "sandbox::journal::"),
    # Bounds.
    Guard("a body has a limit", head("false"), "faults::an_answer_beyond_the_limits_is_an_unknown_outcome", "it"),
    # What strangers can get at.
    Guard("pages of other sites get no answer", instead("true"),
          "browsers::a_name_that_another_site_points_here_is_refused_everywhere", "it"),
    Guard("no core dumps", drop(), "confined::a_crash_leaves_no_core_dump_even_where_the_machine_asks_for_one", "it"),
    Guard("a spool that others can get at is told", instead("let others = 0;"),
          "confined::a_spool_that_others_can_get_at_is_told_with_the_command_that_closes_it", "it"),
]
