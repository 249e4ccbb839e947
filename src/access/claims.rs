//! What a signed token says (RFC 7519), once its signature is right: whether it is for this server, for now, and
//! what it grants.

use serde::Deserialize;

use super::fields::{Fields, given};
use super::grant::Rights;
use super::issued::Holder;
use super::object::Object;
use super::signed::{Bad, shown};
use crate::limits;

/// What tokens of an issuer have to say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Terms {
    pub(super) iss: Option<String>,
    pub(super) aud: Option<String>,
    pub(super) leeway_ms: u64,
    /// What a token may grant at most, and grants where it says nothing.
    pub(super) rights: Rights,
}

/// Those claims that matter here; others are for others.
#[derive(Deserialize)]
struct Claims {
    #[serde(default, deserialize_with = "given")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "given")]
    sub: Option<String>,
    #[serde(default, deserialize_with = "given")]
    jti: Option<String>,
    #[serde(default, deserialize_with = "given")]
    aud: Option<Audience>,
    #[serde(default, deserialize_with = "given")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    tickcast: Option<Object<Fields>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, name: &str) -> bool {
        match self {
            Audience::One(one) => one == name,
            Audience::Many(many) => many.iter().any(|one| one == name),
        }
    }
}

impl Terms {
    /// Whom a token is of, and what it grants.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn judge(&self, payload: &[u8], now_ms: u64) -> Result<(Holder, Rights), Bad> {
        let Object(claims): Object<Claims> =
            serde_json::from_slice(payload).map_err(|why| Bad::claims(&why.to_string()))?;
        if self.iss.is_some() && self.iss != claims.iss {
            return Err(Bad::Issuer);
        }
        // RFC 7519, 4.1.3: one that is for somebody is for nobody else.
        match (&self.aud, &claims.aud) {
            (Some(own), Some(its)) if its.has(own) => {}
            (None, None) => {}
            _ => return Err(Bad::Audience),
        }
        let expires_ms = self.until(claims.exp.ok_or(Bad::Endless)?);
        if now_ms >= expires_ms {
            return Err(Bad::Expired);
        }
        if claims.nbf.is_some_and(|nbf| now_ms + self.leeway_ms < millis(nbf)) {
            return Err(Bad::NotYet);
        }
        let most = limits::SUBJECT_BYTES;
        let sub = claims.sub.filter(|sub| (1..=most).contains(&sub.len()));
        let sub = sub.ok_or_else(|| Bad::claims(&format!("expected `sub`, 1 to {most} bytes")))?;
        if claims.jti.as_ref().is_some_and(|id| !(1..=most).contains(&id.len())) {
            return Err(Bad::claims(&format!("expected a `jti` of 1 to {most} bytes, or none")));
        }
        let rights =
            self.rights(claims.tickcast.map(|object| object.0)).map_err(|why| Bad::claims(&why))?;
        let holder = Holder { sub, jti: claims.jti };
        Ok((holder, Rights { expires_ms: Some(expires_ms), ..rights }))
    }

    fn until(&self, exp: f64) -> u64 {
        millis(exp) + self.leeway_ms
    }

    fn rights(&self, fields: Option<Fields>) -> Result<Rights, String> {
        let Some(fields) = fields else { return Ok(self.rights.clone()) };
        if fields.symbols.as_ref().is_some_and(|list| list.len() > limits::CLAIM_PATTERNS) {
            return Err(format!("more than {} `symbols`", limits::CLAIM_PATTERNS));
        }
        let rights = fields.over(self.rights.clone())?;
        match rights.beyond(&self.rights) {
            Some(field) => Err(format!("its `{field}` is more than its issuer may grant")),
            None => Ok(rights),
        }
    }
}

/// A time of a claim, seconds with or without a fraction, as milliseconds. Far enough away is for ever, and before
/// 1970 is 1970.
fn millis(seconds: f64) -> u64 {
    /// The end of the year 9999.
    const LATEST: f64 = 253_402_300_799.0;
    (seconds.min(LATEST) * 1_000.0) as u64
}

/// Whose a token is, for logs.
pub(super) fn name(issuer: &str, sub: &str) -> String {
    format!("{issuer}/{}", shown(sub, limits::SUBJECT_BYTES))
}
