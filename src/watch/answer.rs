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
}

impl Answer {
    /// What was not granted, in words; `None` where all was.
    pub(super) fn refusals(&mut self) -> Option<String> {
        let all = self.errors.drain(..).chain(self.error.take());
        let all: Vec<String> = all.map(Refusal::sentence).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
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
