//! Texts as values: each says what was expected where a text is none.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;

use tickcast_feeds::{FeedSpec, SpecError};
use tracing::Level;

use super::SlowConsumer;
use super::units::{Span, Spread};
use crate::cli;
use crate::limits;
use crate::logging::LogFormat;

/// A whole number in a range.
pub(super) fn number(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let why = || format!("expected a whole number from {} to {}", range.start(), range.end());
    // `from_str` would take a sign.
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = plain.then(|| text.parse().ok()).flatten().ok_or_else(why)?;
    range.contains(&value).then_some(value).ok_or_else(why)
}

pub(super) fn ring_slots(text: &str) -> Result<usize, String> {
    let (least, most) = (*limits::RING_SLOTS_RANGE.start(), *limits::RING_SLOTS_RANGE.end());
    let why = || format!("expected a power of two from {least} to {most}");
    let slots = number(text, limits::RING_SLOTS_RANGE).map_err(|_| why())?;
    if slots.is_power_of_two() {
        return Ok(slots);
    }
    let (below, above) = (slots.next_power_of_two() / 2, slots.next_power_of_two());
    Err(format!("{}, such as {below} or {above}", why()))
}

pub(super) fn request_rate(text: &str) -> Result<NonZeroU32, String> {
    let rate = number(text, 1..=limits::REQUEST_RATE_MAX as usize)?;
    u32::try_from(rate).ok().and_then(NonZeroU32::new).ok_or_else(|| "expected more".to_owned())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or_else(
        || text.to_owned(),
        |port| format!("127.0.0.1:{port}"), // the one name that needs no resolver
    );
    SocketAddr::from_str(&text).map_err(|_| {
        "expected an address and a port such as 127.0.0.1:7070, 0.0.0.0:7070 or [::1]:7070"
            .to_owned()
    })
}

pub(super) fn drain_spread(text: &str) -> Result<Spread, String> {
    let spread: Spread = text.parse()?;
    if spread.to > limits::DRAIN_SPREAD_MAX {
        let most = Span(limits::DRAIN_SPREAD_MAX);
        return Err(format!("expected a range that ends at {most} or before"));
    }
    Ok(spread)
}

pub(super) fn feed(text: &str) -> Result<FeedSpec, String> {
    text.parse().map_err(|error: SpecError| error.to_string())
}

pub(super) fn slow_consumer(text: &str) -> Result<SlowConsumer, String> {
    one_of(text, cli::SLOW_CONSUMER, &[SlowConsumer::Disconnect, SlowConsumer::Conflate])
}

pub(super) fn log_level(text: &str) -> Result<Level, String> {
    let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    one_of(text, cli::LOG_LEVEL, &levels)
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    one_of(text, cli::LOG_FORMAT, &[LogFormat::Text, LogFormat::Json])
}

/// The value that stands where the text stands in the list of names.
pub(super) fn one_of<T: Copy>(text: &str, names: &[&str], values: &[T]) -> Result<T, String> {
    let at = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let value = at.and_then(|at| values.get(at)).copied();
    value.ok_or_else(|| format!("expected one of {}", names.join(", ")))
}

/// A text cut to what an error repeats.
pub(crate) fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(limits::LOG_TEXT_BYTES);
    if end < text.len() { format!("{}...", &text[..end]) } else { text.to_owned() }
}
