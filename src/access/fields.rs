//! The fields that say what is granted, which are the same wherever somebody writes them: a `[[token]]` or
//! `[anonymous]` of the file, an `[[issuer]]`, the claim of a signed token.
//!
//! A new one is a line in each of the lists of `granting!`, one in [`Fields::over`], and one in [`Rights::beyond`],
//! which says what is more of it.

use serde::{Deserialize, Deserializer};

use super::grant::{Pattern, Rights};
use crate::config::units::Span;
use crate::limits;
use crate::wire::request::Channel;

/// A struct that is read from a file or a token, with the fields of a grant besides its own. (`serde`'s `flatten`
/// would lose the line of a mistake in the file.)
macro_rules! granting {
    (struct $(#[$meta:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $($own)*
            #[serde(default, deserialize_with = "crate::access::fields::given")]
            pub(in crate::access) symbols: Option<Vec<String>>,
            #[serde(default, deserialize_with = "crate::access::fields::given")]
            pub(in crate::access) channels: Option<Vec<String>>,
            #[serde(default, deserialize_with = "crate::access::fields::given")]
            pub(in crate::access) depth: Option<u16>,
            #[serde(default, deserialize_with = "crate::access::fields::given")]
            pub(in crate::access) max_subscriptions: Option<usize>,
            #[serde(default, deserialize_with = "crate::access::fields::given")]
            pub(in crate::access) max_hz: Option<f64>,
            #[serde(default, deserialize_with = "crate::access::fields::given")]
            pub(in crate::access) connections: Option<usize>,
            #[serde(default, deserialize_with = "crate::access::fields::given")]
            pub(in crate::access) delay: Option<String>,
        }
    };
    ($(#[$meta:meta])* $name:ident { $($own:tt)* }) => {
        $crate::access::fields::granting! { struct $(#[$meta])* $name { $($own)* } }

        impl $name {
            /// Takes those fields out.
            pub(super) fn fields(&mut self) -> $crate::access::fields::Fields {
                $crate::access::fields::Fields {
                    symbols: self.symbols.take(),
                    channels: self.channels.take(),
                    depth: self.depth.take(),
                    max_subscriptions: self.max_subscriptions.take(),
                    max_hz: self.max_hz.take(),
                    connections: self.connections.take(),
                    delay: self.delay.take(),
                }
            }
        }
    };
}
pub(super) use granting;

/// Reads a field that is there: `null` is a mistake, not a field that was left out.
///
/// # Errors
/// Those of its type.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

granting! {
    struct
    /// Nothing but them.
    Fields {}
}

impl Fields {
    /// What they say, and where they say nothing what `base` has.
    ///
    /// # Errors
    /// Which of them will not do.
    pub(super) fn over(self, base: Rights) -> Result<Rights, String> {
        if self.depth.is_some_and(|depth| !(1..=limits::BOOK_DEPTH_MAX).contains(&depth.into())) {
            let most = limits::BOOK_DEPTH_MAX;
            return Err(format!("`depth` is not 1 to {most}; leave it out for whole books"));
        }
        if self.max_hz.is_some_and(|hz| !limits::MAX_HZ.contains(&hz)) {
            let (least, most) = (limits::MAX_HZ.start(), limits::MAX_HZ.end());
            return Err(format!("`max_hz` is not {least} to {most}"));
        }
        let delay_ms = self.delay.map(|text| delay_ms(&text)).transpose()?;
        Ok(Rights {
            symbols: self.symbols.map_or(Ok(base.symbols), |texts| patterns(&texts))?,
            channels: self.channels.map_or(Ok(base.channels), |names| channels(&names))?,
            depth: self.depth.or(base.depth),
            max_subscriptions: self.max_subscriptions.or(base.max_subscriptions),
            max_hz: self.max_hz.or(base.max_hz),
            connections: self.connections.or(base.connections),
            delay_ms: delay_ms.unwrap_or(base.delay_ms),
            ..base
        })
    }

    /// The same of a section of the file, where `symbols` has to be there and what is left out is not limited.
    ///
    /// # Errors
    /// Which of them will not do, or is missing.
    pub(super) fn whole(self) -> Result<Rights, String> {
        if self.symbols.is_none() {
            return Err("expected `symbols`, a list of patterns such as binance:BTC-*".to_owned());
        }
        self.over(Rights { channels: Channel::ALL.to_vec(), ..Rights::nothing() })
    }
}

fn delay_ms(text: &str) -> Result<u64, String> {
    let (least, most) = (Span(*limits::DELAY_RANGE.start()), Span(*limits::DELAY_RANGE.end()));
    // The header `Tickcast-Delay` says it in seconds.
    let whole = |Span(delay): &Span| delay.subsec_nanos() == 0;
    let delay = text.parse().ok().filter(|Span(delay)| limits::DELAY_RANGE.contains(delay));
    let Some(Span(delay)) = delay.filter(whole) else {
        return Err(format!(
            "`delay` {text:?}, expected whole seconds from {least} to {most}, such as 15m"
        ));
    };
    Ok(delay.as_millis() as u64)
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>, String> {
    let one = |text: &String| {
        Pattern::new(text).ok_or_else(|| {
            format!("symbol {text:?}, expected * or a pattern such as binance:* or binance:BTC-*")
        })
    };
    texts.iter().map(one).collect()
}

fn channels(names: &[String]) -> Result<Vec<Channel>, String> {
    let known = || Channel::ALL.map(Channel::as_str).join(", ");
    let one = |name: &String| {
        Channel::parse(name)
            .ok_or_else(|| format!("channel {name:?}, expected some of {}", known()))
    };
    names.iter().map(one).collect()
}
