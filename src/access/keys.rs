//! The keys of an issuer: secrets, public keys in PEM, sets of keys in JSON (RFC 7517).
//!
//! A key has one algorithm, by what it is. The `alg` of a token only says which keys are tried, so a public key can
//! never be taken for the secret of an HMAC, whatever a token says.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use ring::{digest, hmac};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use webpki::RawPublicKeyEntity;

use super::object::Object;
use crate::limits;

/// How tokens may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub(super) const NAMES: &str = "HS256, RS256, ES256, EdDSA";

    /// By its name (RFC 7518; `Ed25519` is what RFC 9864 calls the same).
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Algorithm::Hs256),
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" | "Ed25519" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

/// One key.
pub(super) struct Key {
    kid: Option<String>,
    material: Material,
    /// Its hash, to know it again.
    print: [u8; 32],
    /// Set once it is not one of its issuer's any more: what it opened is over.
    revoked: Arc<AtomicBool>,
}

#[derive(Clone)]
enum Material {
    Secret(hmac::Key),
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// One of RSA as PEM has it.
    RsaInfo(SubjectPublicKeyInfoDer<'static>),
    /// A point of the curve P-256, not compressed.
    P256([u8; 65]),
    Ed25519([u8; 32]),
}

// A secret is not shown, by no way.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

impl Key {
    fn new(kid: Option<String>, material: Material, bytes: &[&[u8]]) -> Arc<Self> {
        let mut context = digest::Context::new(&digest::SHA256);
        bytes.iter().for_each(|part| context.update(part));
        let print = context.finish().as_ref().try_into().unwrap_or([0; 32]);
        Arc::new(Key { kid, material, print, revoked: Arc::default() })
    }

    fn secret(secret: &[u8]) -> Arc<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Key::new(None, Material::Secret(key), &[b"secret", secret])
    }

    fn rsa(kid: Option<String>, n: &[u8], e: &[u8]) -> Arc<Self> {
        let material = Material::Rsa(RsaPublicKeyComponents { n: n.to_vec(), e: e.to_vec() });
        Key::new(kid, material, &[b"rsa", n, e])
    }

    fn ed25519(kid: Option<String>, point: [u8; 32]) -> Arc<Self> {
        Key::new(kid, Material::Ed25519(point), &[b"ed25519", &point])
    }

    fn p256(kid: Option<String>, point: [u8; 65]) -> Arc<Self> {
        Key::new(kid, Material::P256(point), &[b"p256", &point])
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Secret(_) => Algorithm::Hs256,
            Material::Rsa(_) | Material::RsaInfo(_) => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Whether a token that names this key, or none, may be signed by it. One from a file has no name, and may
    /// have any.
    pub(super) fn is_named(&self, kid: Option<&str>) -> bool {
        self.kid.is_none() || kid.is_none() || self.kid.as_deref() == kid
    }

    /// Whether it signed that; an HMAC is compared in constant time.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Rsa(key) => {
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Material::RsaInfo(info) => RawPublicKeyEntity::try_from(info)
                .and_then(|key| {
                    let algorithm = webpki::ring::RSA_PKCS1_2048_8192_SHA256;
                    key.verify_signature(algorithm, message, signature)
                })
                .is_ok(),
            // Its two numbers as they are (RFC 7518, 3.4), not in ASN.1 as elsewhere.
            Material::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Material::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature).is_ok()
            }
        }
    }

    /// What says that it was taken back.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        self.revoked.clone()
    }

    fn renewed(&self) -> Key {
        let (kid, material) = (self.kid.clone(), self.material.clone());
        Key { kid, material, print: self.print, revoked: Arc::default() }
    }

    fn is_same(&self, other: &Key) -> bool {
        self.print == other.print && self.kid == other.kid
    }
}

/// All keys of an issuer.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySet(Vec<Arc<Key>>);

impl KeySet {
    /// Secrets, one a line.
    ///
    /// # Errors
    /// That one is too short, or none is there.
    pub(super) fn secrets(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let one = |line: &str| {
            let least = limits::SECRET_BYTES;
            // RFC 7518, 3.2: a shorter one is easier to find than the hash is to break.
            (line.len() >= least).then(|| Key::secret(line.as_bytes())).ok_or_else(|| {
                format!("a secret of {} characters, expected {least} at least, such as those of `openssl rand -hex 32`", line.len())
            })
        };
        KeySet(lines.map(one).collect::<Result<_, _>>()?).some("expected secrets, one a line")
    }

    /// Public keys, in PEM or as a set in JSON.
    ///
    /// # Errors
    /// That none can be used.
    pub(super) fn public(text: &str, algorithms: &[Algorithm]) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            return KeySet::jwks(text.as_bytes(), algorithms);
        }
        let mut keys = Vec::new();
        for info in SubjectPublicKeyInfoDer::pem_slice_iter(text.as_bytes()) {
            let info =
                info.map_err(|why| format!("not PEM: {}", tickcast_feeds::pem::why(&why)))?;
            let key = pem(info)?;
            if !algorithms.contains(&key.algorithm()) {
                return Err("its key is not one of `algorithms`".to_owned());
            }
            keys.push(key);
        }
        KeySet(keys).some(
            "no public key in it, expected PEM that begins with -----BEGIN PUBLIC KEY-----, or a JWKS",
        )
    }

    /// A set of keys in JSON. Those for something else are passed over: others may use the same set.
    ///
    /// # Errors
    /// That it is none, or none of its keys can be used.
    pub(super) fn jwks(text: &[u8], algorithms: &[Algorithm]) -> Result<Self, String> {
        let Object(set): Object<Set> = serde_json::from_slice(text)
            .map_err(|_| "no set of keys, expected JSON with `keys`".to_owned())?;
        let keys = set.keys.into_iter().filter_map(|key| {
            let Object(key): Object<Jwk> = serde_json::from_value(key).ok()?;
            let key = key.key()?;
            algorithms.contains(&key.algorithm()).then_some(key)
        });
        KeySet(keys.take(limits::KEYS_PER_ISSUER).collect()).some(
            "none of its keys can be used, expected RSA of 2048 bits at least, P-256 or Ed25519, as `algorithms` says",
        )
    }

    fn some(self, why: &str) -> Result<Self, String> {
        match self.0.len() {
            0 => Err(why.to_owned()),
            n if n > limits::KEYS_PER_ISSUER => {
                Err(format!("{n} keys, expected {} at most", limits::KEYS_PER_ISSUER))
            }
            _ => Ok(self),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that a token of this name and algorithm may be signed by.
    pub(super) fn named(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Arc<Key>> {
        self.0.iter().filter(move |key| key.algorithm() == algorithm && key.is_named(kid))
    }

    /// Takes the place of another set: those that were there stay what they are, and those that are here no
    /// more are taken back.
    pub(super) fn after(mut self, old: &KeySet) -> Self {
        for key in &mut self.0 {
            if let Some(same) = old.0.iter().find(|old| old.is_same(key)) {
                *key = same.clone();
            }
        }
        for gone in old.0.iter().filter(|old| !self.0.iter().any(|new| Arc::ptr_eq(old, new))) {
            gone.revoked.store(true, Ordering::Relaxed);
        }
        self
    }

    /// The same keys for another issuer: those may be taken back alone.
    pub(super) fn renewed(&self) -> Self {
        KeySet(self.0.iter().map(|key| Arc::new(key.renewed())).collect())
    }

    /// Takes all of them back.
    pub(super) fn revoke(&self) {
        self.0.iter().for_each(|key| key.revoked.store(true, Ordering::Relaxed));
    }
}

/// How a public key of Ed25519 begins (RFC 8410); its 32 bytes follow.
const ED25519_INFO: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// How a public key of the curve P-256 begins (RFC 5480, 2); the point follows, not compressed.
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What a point begins with that is not compressed (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// The algorithm in a public key of RSA: `rsaEncryption` with no parameters (RFC 8017, A.1).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// Bytes of a public key of RSA with 2048 bits and the smallest exponent.
const RSA_INFO_LEAST: usize = 292;

fn pem(info: SubjectPublicKeyInfoDer<'static>) -> Result<Arc<Key>, String> {
    if let Some(point) = info.strip_prefix(&ED25519_INFO[..]) {
        let point = point.try_into().map_err(|_| "a broken key of Ed25519")?;
        return Ok(Key::ed25519(None, point));
    }
    if let Some(point) = info.strip_prefix(&P256_INFO[..]) {
        let point = <[u8; 65]>::try_from(point).ok().filter(|point| point[0] == UNCOMPRESSED);
        return Ok(Key::p256(None, point.ok_or("a broken key of P-256")?));
    }
    RawPublicKeyEntity::try_from(&info).map_err(|why| format!("a broken public key: {why}"))?;
    if !info.windows(RSA_ALGORITHM.len()).take(8).any(|at| at == RSA_ALGORITHM) {
        return Err("a public key that is not of RSA, P-256 or Ed25519".to_owned());
    }
    if info.len() < RSA_INFO_LEAST {
        return Err("a key of RSA of less than 2048 bits, which can be broken".to_owned());
    }
    let bytes = info.to_vec();
    Ok(Key::new(None, Material::RsaInfo(info), &[b"info", &bytes]))
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// What of a key in JSON is looked at.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// The key, if it is for tokens and of a kind that is known. One that is a secret is not: whoever can
    /// read a set of keys could sign.
    fn key(self) -> Option<Arc<Key>> {
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        if self.usage.as_deref().is_some_and(|usage| usage != "sig")
            || self.key_ops.as_ref().is_some_and(|ops| !verifies(ops))
        {
            return None;
        }
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (number(self.n.as_deref()?)?, number(self.e.as_deref()?)?);
                let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
                if !(2_048..=8_192).contains(&bits) {
                    return None;
                }
                Key::rsa(self.kid, &n, &e)
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (coordinate(self.x)?, coordinate(self.y)?);
                let mut point = [UNCOMPRESSED; 65];
                point[1..33].copy_from_slice(&x);
                point[33..].copy_from_slice(&y);
                Key::p256(self.kid, point)
            }
            ("OKP", Some("Ed25519")) => Key::ed25519(self.kid, coordinate(self.x)?),
            _ => return None,
        };
        let is_its = |alg: &str| Algorithm::parse(alg) == Some(key.algorithm());
        self.alg.as_deref().is_none_or(is_its).then_some(key)
    }
}

/// Of a point: 32 bytes, leading zeros included (RFC 7518, 6.2.1.2).
fn coordinate(text: Option<String>) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text?).ok()?.try_into().ok()
}

/// An unsigned number without leading zeros.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Some(bytes[zeros..].to_vec()).filter(|bytes| !bytes.is_empty())
}
