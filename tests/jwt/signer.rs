//! Signs tokens, for tests: as an issuer would, and as one who wants in.
// Each test file uses its part.
#![allow(dead_code)]
#![allow(missing_docs, unreachable_pub)]

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

/// A file of `tests/jwt/keys`.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/jwt/keys").join(name)
}

pub fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).expect(name)
}

fn private(name: &str) -> PrivatePkcs8KeyDer<'static> {
    PrivatePkcs8KeyDer::from_pem_file(path(name)).expect(name)
}

/// Seconds from now, as `exp` has them.
pub fn soon(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    i64::try_from(now).expect("a time") + seconds
}

pub enum Signer {
    Hs256(hmac::Key),
    Rs256(Box<RsaKeyPair>),
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    /// Signs nothing.
    None,
}

impl Signer {
    /// That of `secret.txt`.
    pub fn hs256() -> Self {
        Signer::secret(text("secret.txt").trim().as_bytes())
    }

    pub fn secret(secret: &[u8]) -> Self {
        Signer::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub fn rs256(name: &str) -> Self {
        let key = RsaKeyPair::from_pkcs8(private(name).secret_pkcs8_der()).expect("a key");
        Signer::Rs256(Box::new(key))
    }

    pub fn eddsa() -> Self {
        let der = private("ed25519.pem");
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        Signer::EdDsa(key.expect("a key"))
    }

    pub fn es256() -> Self {
        let der = private("p256.pem");
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::from_pkcs8(kind, der.secret_pkcs8_der(), &random);
        Signer::Es256(key.expect("a key"))
    }

    pub fn alg(&self) -> &'static str {
        match self {
            Signer::Hs256(_) => "HS256",
            Signer::Rs256(_) => "RS256",
            Signer::EdDsa(_) => "EdDSA",
            Signer::Es256(_) => "ES256",
            Signer::None => "none",
        }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.of(&json!({"alg": self.alg(), "typ": "JWT"}), claims.to_string().as_bytes())
    }

    /// The same by a key of this name.
    pub fn named(&self, kid: &str, claims: &Value) -> String {
        self.of(&json!({"alg": self.alg(), "kid": kid}), claims.to_string().as_bytes())
    }

    /// With this header, whatever it says.
    pub fn of(&self, header: &Value, payload: &[u8]) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", encode(header.to_string().as_bytes()), encode(payload));
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", encode(&signature))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Signer::Hs256(key) => hmac::sign(key, message).as_ref().to_vec(),
            Signer::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .expect("signs");
                signature
            }
            Signer::EdDsa(key) => key.sign(message).as_ref().to_vec(),
            Signer::Es256(key) => {
                key.sign(&SystemRandom::new(), message).expect("signs").as_ref().to_vec()
            }
            Signer::None => Vec::new(),
        }
    }

    /// Its public key in JSON.
    pub fn jwk(&self, kid: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Signer::Rs256(key) => {
                let public: ring::rsa::PublicKeyComponents<Vec<u8>> = key.public().into();
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256",
                    "n": encode(&public.n), "e": encode(&public.e)})
            }
            Signer::EdDsa(key) => json!({"kty": "OKP", "crv": "Ed25519", "kid": kid,
                "x": encode(key.public_key().as_ref())}),
            Signer::Es256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256",
                    "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Signer::Hs256(_) | Signer::None => panic!("no public key"),
        }
    }
}
