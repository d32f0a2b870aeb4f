//! What a bus promises, as scenarios that are written once and run within a thread, between threads
//! and between processes. The same promises of the log alone, over heap memory and over files, are
//! in `src/log/tests/conformance.rs`.

mod actor;
#[path = "../common/mod.rs"]
mod common;
mod events;
mod order;
mod place;
mod reading;

/// Runs each scenario in each place.
macro_rules! run {
    ($($module:ident :: $scenario:ident,)*) => {
        run!(@place same_thread SameThread $($module::$scenario)*);
        run!(@place threads Threads $($module::$scenario)*);
        run!(@place publisher_in_child PublisherInChild $($module::$scenario)*);
        run!(@place subscriber_in_child SubscriberInChild $($module::$scenario)*);
    };
    (@place $name:ident $place:ident $($module:ident :: $scenario:ident)*) => {
        mod $name {
            $(
                #[test]
                fn $scenario() {
                    crate::$module::$scenario(&crate::place::$place);
                }
            )*
        }
    };
}

run!(
    reading::all_ways_to_publish_and_to_take_agree,
    reading::a_subscriber_starts_where_it_wants,
    reading::nothing_is_lost_on_a_ring_that_is_full_again_and_again,
    reading::typed_messages_are_read_in_place,
    reading::a_dropped_claim_leaves_no_trace,
    reading::gaps_are_told_with_their_cause,
    reading::an_overrun_subscriber_is_told_exactly_what_it_lost,
    reading::counters_are_exact_at_one_message_at_a_time,
    order::each_partition_keeps_its_order,
    order::several_topics_make_one_stream,
    order::messages_are_merged_by_their_timestamps,
    order::a_message_is_held_back_while_a_partition_is_empty,
    order::what_comes_later_than_it_was_held_back_for_is_late,
    order::what_arrived_together_is_held_back_together,
    order::what_is_refused_makes_nothing_late,
    events::a_publisher_that_goes_and_comes_back_is_told,
    events::a_successor_that_publishes_at_once_is_told,
    events::a_death_is_told_while_another_partition_is_busy,
    events::a_death_is_told_to_those_who_hardly_look,
    events::a_slow_subscriber_is_evicted_and_told,
    events::a_removed_bus_is_told,
    events::sleepers_are_woken,
);

#[test]
#[ignore = "is run by the others, as a process of its own"]
fn child() {
    place::act_as_child();
}
