//! What both ways of watching understand of the server's messages: their heads, and answers.

use std::borrow::Cow;

use serde::Deserialize;

/// What tells the messages apart.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    pub(super) channel: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) reconnect_ms: Option<[u64; 2]>,
}

/// The answer to a request.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// The request's number, where it had one.
    pub(super) req_id: Option<u64>,
    #[serde(default)]
    pub(super) result: Vec<Granted>,
    #[serde(default)]
    errors: Vec<Refusal>,
    error: Option<Refusal>,
    delay_ms: Option<u64>,
}

impl Answer {
    /// By how much what this connection is sent is delayed; `None` where a request was refused as a whole, for then
    /// the answer does not say.
    pub(super) fn delay_ms(&self) -> Option<u64> {
        self.error.is_none().then(|| self.delay_ms.unwrap_or(0))
    }

    /// Whether the server wants a token before it answers.
    pub(super) fn wants_a_token(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.code == "unauthorized")
    }

    /// What was not granted, in words; `None` where all was.
    pub(super) fn refusals(&mut self) -> Option<String> {
        if self.wants_a_token() {
            return Some(super::wants_a_token());
        }
        let all = self.errors.drain(..).chain(self.error.take());
        let all: Vec<String> = all.map(Refusal::sentence).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// The mark of what is delayed, which those must see who are shown it; none where nothing is.
pub(super) fn delayed(delay_ms: u64) -> Option<String> {
    let seconds = delay_ms / 1_000;
    let parts = [(seconds / 3_600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    // A server of another make may delay by less than a second, or by a part of one.
    let parts = [&parts[..], &[(delay_ms % 1_000, "ms")]].concat();
    let shown: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect();
    (!shown.is_empty()).then(|| format!("delayed {}", shown.join(" ")))
}

/// A symbol or wildcard that the server agreed to.
#[derive(Debug, Deserialize)]
pub(super) struct Granted {
    /// As the server writes it, whatever was asked for.
    pub(super) symbol: Option<String>,
    /// The channel's newest sequence at that moment; wildcards have none.
    pub(super) seq: Option<u64>,
}

/// Why a request or one of its symbols was not granted.
#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    code: String,
    message: String,
    #[serde(default)]
    did_you_mean: Vec<String>,
}

impl Refusal {
    fn sentence(self) -> String {
        match self.did_you_mean.as_slice() {
            [] => self.message,
            near => format!("{}, did you mean {}?", self.message, near.join(" or ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_said_in_words() {
        let said = |delay_ms| delayed(delay_ms).unwrap_or_default();
        assert_eq!(said(0), "");
        assert_eq!(said(1_000), "delayed 1 s");
        assert_eq!(said(900_000), "delayed 15 min");
        assert_eq!(said(5_403_000), "delayed 1 h 30 min 3 s");
        assert_eq!(said(86_400_000), "delayed 24 h");
        assert_eq!(said(1_500), "delayed 1 s 500 ms");
    }

    #[test]
    fn an_answer_that_says_nothing_of_it_changes_nothing() {
        let told = |text: &str| serde_json::from_str::<Answer>(text).expect("an answer").delay_ms();
        assert_eq!(told(r#"{"result":[],"errors":[],"delay_ms":1000}"#), Some(1_000));
        assert_eq!(told(r#"{"result":[{"symbol":"*"}]}"#), Some(0));
        assert_eq!(told(r#"{"error":{"code":"rate_limited","message":"slower"}}"#), None);
    }
}
