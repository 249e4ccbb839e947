//! What happens to connections.

use std::time::Duration;

use super::super::local::wait_for;
use super::*;

/// Stale, then live again.
fn was_stale(seen: &Seen) -> bool {
    let after_live = seen.feed.iter().skip_while(|state| *state != "live");
    after_live.clone().any(|state| state == "stale")
        && seen.feed.last().is_some_and(|state| state == "live")
}

#[test]
fn a_reset_connection_is_stale_then_whole_again_and_its_trades_are_caught_up_with() {
    let run = begin(600, "");
    run.play_all();
    run.venue.die();
    run.wait_live("losses_total", |n| n == 1.0);
    // Some 10 trades of each that nobody is told of.
    run.play_on(80);
    run.venue.come_back();
    run.venue.wait_subscribed(6);
    let seen = run.finish_whole();
    assert!(seen.values().all(was_stale), "{seen:?}");
}

#[test]
fn a_venue_that_dies_is_come_back_to() {
    let run = begin(300, "");
    run.play_all();
    run.venue.die();
    run.wait_live("connect_failures_total", |n| n >= 2.0);
    run.venue.come_back();
    run.venue.wait_subscribed(6);
    run.play_on(300);
    let seen = run.finish_whole();
    assert!(seen.values().all(was_stale), "{seen:?}");
}

/// Kraken announces no end of a connection but its own: a close frame, as when its load balancers
/// are recycled.
#[test]
fn a_ping_is_answered_and_a_close_is_a_loss() {
    let run = begin(300, "");
    run.play_all();
    run.venue.ping_all();
    run.venue.close_all(1001, "CloudFlare WebSocket proxy restarting");
    run.wait_live("losses_total", |n| n == 1.0);
    run.wait_live("connects_total", |n| n == 2.0);
    let (_, feeds) = run.server.get("/v1/feeds");
    assert!(feeds.contains("code 1001 CloudFlare"), "{feeds}");
    run.venue.wait_subscribed(6);
    run.play_on(300);
    let seen = run.finish_whole();
    assert!(seen.values().all(was_stale), "{seen:?}");
}

#[test]
fn a_half_closed_connection_is_left_and_replaced() {
    let run = begin(300, "");
    run.play_all();
    run.venue.half_close_all();
    run.wait_live("connects_total", |n| n == 2.0);
    run.finish_whole();
}

#[test]
fn a_quiet_venue_is_pinged_in_its_own_words_and_a_silent_one_is_left() {
    let run = begin_as(300, ",silence=2", |venue| venue.is_mute = true);
    run.play_all();
    // Quiet, but its pongs come: nothing is stale.
    let pings = || {
        let heard = run.venue.heard();
        let pings = heard.iter().filter(|(_, text)| text.contains(r#""method":"ping","req_id":"#));
        pings.count()
    };
    wait_for(|| (pings() >= 2).then_some(()));
    assert_eq!(run.server.metric("tickcast_live_losses_total", ""), 0.0);
    assert_eq!(run.venue.connections().0, 1);
    run.venue.stall_all(Duration::from_secs(60));
    run.wait_live("losses_total", |n| n == 1.0);
    run.wait_live("connects_total", |n| n == 2.0);
    let seen = run.finish_whole();
    assert!(seen.values().all(was_stale), "{seen:?}");
}

#[test]
fn a_connection_is_replaced_before_its_life_ends_and_nothing_is_lost() {
    let run = begin(6_000, ",life=2");
    run.play_all();
    run.wait_live("replaced_total", |n| n >= 1.0);
    let seen = run.finish_whole();
    assert_eq!(resyncs(&seen), 0, "{seen:?}");
}

/// Whichever of the two it is: the other one's book goes on where that of the dead one ended.
#[test]
fn of_two_lines_one_may_die_and_nobody_notices() {
    let run = begin(6_000, ",lines=2");
    std::thread::scope(|scope| {
        scope.spawn(|| run.play_all());
        for death in 1..=2 {
            // Both carry the books, and have for some time.
            run.wait_live("links", |n| n == 2.0);
            let so_far = run.server.metric("tickcast_live_messages_total", "");
            run.wait_live("messages_total", |n| n > so_far + 100.0);
            run.venue.abort_first();
            run.wait_live("losses_total", |n| n == f64::from(death));
            run.venue.wait_subscribed(12);
        }
    });
    let seen = run.finish_whole();
    assert_eq!(resyncs(&seen), 0, "{seen:?}");
    assert!(!seen.values().any(was_stale), "{seen:?}");
}

/// No limit of the rate of messages is published; who exceeds it is told so, and is not subscribed.
#[test]
fn what_was_refused_for_its_haste_is_asked_for_again() {
    let run = begin_as(1_500, "", |venue| venue.too_fast = 2);
    run.play_all();
    let seen = run.finish_whole();
    assert_eq!(resyncs(&seen), 0, "{seen:?}");
}
