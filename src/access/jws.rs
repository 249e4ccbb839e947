//! A signed token in its compact form (RFC 7515): `header.payload.signature`, each in base64 without padding.
//! Nothing in it is true before its signature was found right.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::keys::Algorithm;
use super::object::Object;
use super::signed::Bad;
use crate::limits;

/// One, taken apart.
#[derive(Debug)]
pub(super) struct Jws<'a> {
    pub(super) algorithm: Algorithm,
    /// Which of its issuer's keys signed it.
    pub(super) kid: Option<String>,
    /// What was signed.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

/// Of the payload, what says whose keys to look among.
#[derive(Deserialize)]
struct Origin {
    iss: Option<String>,
}

impl<'a> Jws<'a> {
    /// Whether it is meant to be one: `{"` in base64, and three parts.
    pub(super) fn is_like(token: &[u8]) -> bool {
        token.starts_with(b"eyJ") && token.iter().filter(|byte| **byte == b'.').count() == 2
    }

    /// Takes one apart.
    ///
    /// # Errors
    /// That it is none, or one that would have to be understood in a way that is not known here.
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, Bad> {
        if token.len() > limits::SIGNED_TOKEN_BYTES {
            return Err(Bad::TooLarge);
        }
        let mut parts = token.rsplitn(2, |byte| *byte == b'.');
        let (Some(signature), Some(message)) = (parts.next(), parts.next()) else {
            return Err(Bad::Form("expected three parts"));
        };
        let mut parts = message.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Bad::Form("expected three parts"));
        };
        let header: Header = json(&decode(header)?)?;
        // What must be understood and is not: RFC 7515, 4.1.11.
        if header.crit.is_some() {
            return Err(Bad::Form("`crit` is not understood"));
        }
        if !header.typ.as_deref().is_none_or(is_type) {
            return Err(Bad::Form("its `typ` is not that of a token for access"));
        }
        let algorithm = Algorithm::parse(&header.alg).ok_or(Bad::Algorithm)?;
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        Ok(Jws { algorithm, kid: header.kid, message, signature, payload })
    }

    /// Who says to have signed it: to be believed once the signature is right.
    ///
    /// # Errors
    /// That the payload is no object of JSON.
    pub(super) fn issuer(&self) -> Result<Option<String>, Bad> {
        json::<Origin>(&self.payload).map(|origin| origin.iss)
    }

    /// The payload.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Tokens of other kinds, such as those that say that somebody has logged out, are signed by the same keys
/// (RFC 8725, 3.11).
fn is_type(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

fn decode(part: &[u8]) -> Result<Vec<u8>, Bad> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Bad::Form("a part is not base64url"))
}

fn json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Bad> {
    let object = serde_json::from_slice::<Object<T>>(text);
    object.map(|object| object.0).map_err(|_| Bad::Form("a part is not the JSON of a token"))
}
