//! The contract of `Engine`, kept by both engines over real sockets.

#![allow(clippy::disallowed_methods, reason = "tests watch real processes on the real clock")]
#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it should be")]

mod accepting;
mod closing;
mod exchanging;
mod limits;
mod moving;
#[path = "../it/support/own_network.rs"]
mod own_network;
mod polling;
mod rig;
mod settled;
mod source;

/// Makes a test per engine of every case; io_uring twice, the second time with polling.
macro_rules! contract {
    ($($module:ident: $($case:ident)*;)*) => {
        mod epoll {
            $($(#[test] fn $case() {
                let _guard = crate::rig::guard(stringify!($case));
                crate::$module::$case::<tlsgate::engine::epoll::EpollEngine>();
            })*)*
        }
        mod uring {
            $($(#[test] fn $case() {
                let _guard = crate::rig::guard(stringify!($case));
                if crate::rig::uring_works() {
                    crate::$module::$case::<tlsgate::engine::uring::UringEngine>();
                }
            })*)*
        }
        mod polled {
            $($(#[test] fn $case() {
                let _guard = crate::rig::guard(stringify!($case));
                if crate::rig::uring_works() {
                    crate::$module::$case::<crate::rig::Polled>();
                }
            })*)*
        }
    };
}

contract! {
    accepting:
        accepts_and_names_the_peer
        accepts_on_unix_sockets
        pauses_and_resumes
        a_closing_listener_serves_its_queue
        a_paused_listener_that_closes_serves_its_queue
        a_listener_that_others_share_keeps_working_for_them
        a_listener_that_is_left_goes_on_elsewhere
        many_listeners_at_once;
    moving:
        receives_what_was_there_before_and_comes_after
        receives_up_to_what_the_class_holds
        plaintext_is_received_in_parts_with_room
        ends_come_through_in_every_layout
        sends_a_buffer_in_many_ranges
        end_behind_data
        end_after_a_receive_was_armed
        reset_fails_the_receive
        reset_fails_the_send
        no_receive_is_backpressure
        sends_more_than_the_socket_holds
        both_ways_at_once
        shutdown_leaves_receiving
        connects_and_relays
        data_and_end_right_after_connecting
        connect_refused
        connect_to_unix_sockets
        a_dialled_socket_that_lasts_is_kept_alive
        urgent_data_does_not_hold_up_the_rest;
    settled:
        messages_come_in_order
        nothing_is_handed_out_that_was_not_asked_for
        classes_change_in_the_middle
        ends_wait_until_they_are_asked_for
        a_settled_socket_can_close
        settled_sockets_starve_and_go_on;
    source:
        dials_from_the_source_that_is_chosen
        a_source_that_cannot_be_is_told
        a_source_without_ports_is_told_and_others_go_on
        dials_from_the_clients_address;
    closing:
        closed_is_the_last_event
        closing_while_connecting
        closing_right_after_a_failed_connect
        reset_and_fin_look_different
        an_id_is_free_after_closed
        streams_that_nobody_adopts_are_reset
        descriptors_come_back;
    exchanging:
        another_socket_takes_the_place_of_one
        an_exchange_can_be_undone
        a_socket_from_elsewhere_is_taken_over;
    limits:
        starved_receives_complete_when_buffers_come_back
        bulk_is_not_starved_by_messages
        a_starved_socket_can_close
        a_waker_ends_a_wait
        a_deadline_ends_a_wait
        thousands_of_sockets;
}

#[test]
fn a_storm_on_one_listener_leaves_room_for_another() {
    let _guard = rig::guard("");
    accepting::a_storm_on_one_listener_leaves_room_for_another::<tlsgate::engine::epoll::EpollEngine>(
    );
}
