//! Signed tokens: what gets in, and above all what does not.

use proptest::prelude::*;
use serde_json::{Value, json};
use signer::Signer;

use super::grant::{Pattern, Rights};
use super::keys::{Algorithm, KeySet};
use super::tests::File;
use super::*;
use crate::limits;
use crate::wire::request::Channel;

#[path = "../../tests/jwt/signer.rs"]
mod signer;

/// 2027-01-15, and a time before.
const EXP: u64 = 1_800_000_000;
const NOW_MS: u64 = (EXP - 1_000) * 1_000;

/// An issuer of this kind, with more lines.
fn issuer(name: &str, key: &str, more: &str) -> String {
    let (algorithm, field) = match key {
        "secret.txt" => ("HS256", "secret_file"),
        "ed25519_public.pem" => ("EdDSA", "key_file"),
        "p256_public.pem" => ("ES256", "key_file"),
        _ => ("RS256", "key_file"),
    };
    let path = signer::path(key);
    format!(
        "[[issuer]]\nname = \"{name}\"\nalgorithms = [\"{algorithm}\"]\n{field} = {path:?}\n{more}\n"
    )
}

const TERMS: &str = "iss = \"https://idp\"\naud = \"tickcast\"\nsymbols = [\"sim:*\"]\n\
    channels = [\"trade\", \"book\"]\ndepth = 25\nmax_hz = 10\nmax_subscriptions = 5\nconnections = 2";

fn claims(more: &Value) -> Value {
    let mut claims = json!({"iss": "https://idp", "aud": "tickcast", "sub": "ann", "exp": EXP});
    for (name, value) in more.as_object().expect("claims") {
        match value.is_null() {
            true => claims.as_object_mut().and_then(|all| all.remove(name)),
            false => claims.as_object_mut().and_then(|all| all.insert(name.clone(), value.clone())),
        };
    }
    claims
}

fn load(text: &str) -> (File, Arc<Access>) {
    let file = File::new(text);
    let access = Access::load(file.path()).expect("a file");
    (file, access)
}

fn enter(access: &Access, token: &str) -> Result<Held, Refused> {
    access.of_token(Some(token.as_bytes()), NOW_MS, None)
}

/// Why a token does not get in, as it is told.
fn why(access: &Access, token: &str) -> String {
    enter(access, token).expect_err("out").to_string()
}

#[test]
fn each_algorithm_gets_in_with_its_own_key() {
    let signers = [
        ("secret.txt", Signer::hs256()),
        ("rsa_public.pem", Signer::rs256("rsa.pem")),
        ("ed25519_public.pem", Signer::eddsa()),
        ("p256_public.pem", Signer::es256()),
    ];
    for (key, right) in &signers {
        let (_file, access) = load(&issuer("idp", key, TERMS));
        let held = enter(&access, &right.token(&claims(&json!({})))).expect(key);
        assert_eq!((held.name.as_str(), held.symbols().as_str()), ("idp/ann", "sim:*"));
        assert_eq!(held.expires_ms(), Some((EXP + limits::LEEWAY_SECONDS) * 1_000));
        assert!(!held.is_operator());
        for (_, other) in signers.iter().filter(|(other, _)| other != key) {
            assert!(why(&access, &other.token(&claims(&json!({})))).contains("(`alg`)"), "{key}");
        }
    }
    let (_file, access) = load(&issuer("idp", "rsa_public.pem", TERMS));
    let forged = Signer::rs256("rsa_other.pem").token(&claims(&json!({})));
    assert_eq!(why(&access, &forged), "the token's signature is wrong");
}

/// Examples of the standards: RFC 7515, A.3, and RFC 8037, A.4.
#[test]
fn what_the_standards_sign_is_right() {
    let ec = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let keys = KeySet::jwks(ec.as_bytes(), &[Algorithm::Es256]).expect("a key");
    let token = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let token = Jws::parse(token).expect("a token");
    let key = keys.named(None, token.algorithm).next().expect("a key");
    assert!(key.signed(token.message, &token.signature));
    assert!(!key.signed(&token.message[1..], &token.signature));
    // CVE-2022-21449: zeros are no signature.
    assert!(!key.signed(token.message, &[0; 64]));
    let ed = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = KeySet::jwks(ed.as_bytes(), &[Algorithm::EdDsa]).expect("a key");
    let token = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let token = Jws::parse(token).expect("a token");
    let key = keys.named(None, token.algorithm).next().expect("a key");
    assert!(key.signed(token.message, &token.signature));
    assert!(!key.signed(&token.message[1..], &token.signature));
}

#[test]
fn a_public_key_is_no_secret_and_nothing_is_unsigned() {
    let (_file, access) = load(
        &(issuer("rsa", "rsa_public.pem", TERMS)
            + &issuer("ed", "ed25519_public.pem", "iss = \"ed\"\nsymbols = [\"*\"]")),
    );
    let pem = signer::text("rsa_public.pem");
    let secrets = [pem.clone(), pem.trim().to_owned(), pem.replace('\n', "\r\n")];
    for secret in &secrets {
        let token = Signer::secret(secret.as_bytes()).token(&claims(&json!({})));
        assert!(why(&access, &token).contains("(`alg`)"));
    }
    // And where both kinds are taken, each is held to its own.
    let both = TERMS.replace("https://idp", "hmac");
    let (_file, access) =
        load(&(issuer("rsa", "rsa_public.pem", TERMS) + &issuer("hmac", "secret.txt", &both)));
    for secret in &secrets {
        let signer = Signer::secret(secret.as_bytes());
        assert!(why(&access, &signer.token(&claims(&json!({})))).contains("(`alg`)"));
        let token = signer.token(&claims(&json!({"iss": "hmac"})));
        assert_eq!(why(&access, &token), "the token's signature is wrong");
    }
    let payload = claims(&json!({})).to_string();
    for alg in ["none", "None", "NONE", "", "HS384", "HS512", "RS512", "PS256", "ES256", "hs256"] {
        for signer in [Signer::None, Signer::hs256(), Signer::rs256("rsa.pem")] {
            let token = signer.of(&json!({"alg": alg}), payload.as_bytes());
            assert!(why(&access, &token).contains("(`alg`)"), "{alg}");
        }
    }
    let unsigned = Signer::None.of(&json!({"alg": "RS256"}), payload.as_bytes());
    assert_eq!(why(&access, &unsigned), "the token's signature is wrong");
}

#[test]
fn what_is_no_token_is_told_apart() {
    let (_file, access) = load(&issuer("idp", "secret.txt", TERMS));
    let (signer, payload) = (Signer::hs256(), claims(&json!({})).to_string());
    let good = signer.token(&claims(&json!({})));
    let of = |header: Value| signer.of(&header, payload.as_bytes());
    for (token, expected) in [
        (of(json!({"alg": "HS256", "crit": ["exp"], "exp": 1})), "`crit` is not understood"),
        (of(json!({"alg": "HS256", "typ": "logout+jwt"})), "`typ`"),
        (of(json!({"alg": 1})), "not the JSON"),
        (of(json!({"typ": "JWT"})), "not the JSON"),
        (signer.of(&json!({"alg": "HS256"}), b"[]"), "not the JSON"),
        (signer.of(&json!({"alg": "HS256"}), br#"["https://idp"]"#), "not the JSON"),
        (of(json!(["HS256", null, null, null])), "no such token"),
        (signer.of(&json!({"alg": "HS256"}), b"\xff"), "not the JSON"),
        (good.replacen('.', "=.", 1), "not base64url"),
        (format!("{good}="), "not base64url"),
        (format!("{good}AAAA"), "signature is wrong"),
        (format!("{}AAAA", &good[..good.len() - 3]), "signature is wrong"),
        (good[..good.rfind('.').expect("a dot") + 1].to_owned(), "signature is wrong"),
        (format!("{good}.e30"), "no such token"),
        (format!("{good}.e30.e30"), "no such token"),
        ("eyJ..".to_owned(), "not base64url"),
        (good.replacen("eyJ", "fyJ", 1), "no such token"),
        (format!("eyJ{}", "a".repeat(20_000)), "no such token"),
        (format!("eyJ{}.a.b", "a".repeat(20_000)), "longer than 8192 bytes"),
    ] {
        assert!(why(&access, &token).contains(expected), "{expected}: {}", why(&access, &token));
    }
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        assert!(enter(&access, &of(json!({"alg": "HS256", "typ": typ}))).is_ok(), "{typ}");
    }
    // Another payload under the same signature.
    let parts: Vec<&str> = good.split('.').collect();
    let more = signer.token(&claims(&json!({"sub": "bob"})));
    let swapped = format!("{}.{}.{}", parts[0], more.split('.').nth(1).expect("it"), parts[2]);
    assert_eq!(why(&access, &swapped), "the token's signature is wrong");
    // A file of tokens without issuers has none that are signed.
    let (_file, hashed) = load("[anonymous]\nsymbols = [\"*\"]\n");
    assert_eq!(why(&hashed, &good), "no such token");
}

#[test]
fn claims_are_held_to() {
    let (_file, access) = load(&issuer("idp", "secret.txt", TERMS));
    let signer = Signer::hs256();
    let leeway = limits::LEEWAY_SECONDS;
    let now = NOW_MS / 1_000;
    for (more, expected) in [
        (json!({"exp": now - leeway}), "the token has expired"),
        (json!({"exp": -1}), "the token has expired"),
        (json!({"exp": null}), "no end (`exp`)"),
        (json!({"exp": "1800000000"}), "invalid type: string"),
        (json!({"exp": [EXP]}), "invalid type: sequence"),
        (json!({"nbf": now + leeway + 1}), "not valid yet"),
        (json!({"nbf": "0"}), "invalid type: string"),
        (json!({"aud": "other"}), "(`aud`)"),
        (json!({"aud": ["other", "tickcast2"]}), "(`aud`)"),
        (json!({"aud": null}), "(`aud`)"),
        (json!({"aud": 7}), "will not do"),
        (json!({"iss": "https://other"}), "(`iss`)"),
        (json!({"iss": null}), "(`iss`)"),
        (json!({"sub": null}), "expected `sub`"),
        (json!({"sub": ""}), "expected `sub`"),
        (json!({"sub": "x".repeat(256)}), "expected `sub`"),
        (json!({"sub": 7}), "invalid type: integer"),
    ] {
        let told = why(&access, &signer.token(&claims(&more)));
        assert!(told.contains(expected), "{more}: {told}");
    }
    for more in [
        json!({"exp": now - leeway + 1}),
        json!({"exp": 1.8e9}),
        json!({"exp": 1e300}),
        json!({"nbf": now + leeway}),
        json!({"aud": ["other", "tickcast"]}),
        json!({"iat": "whenever", "scope": {"a": [1]}}),
        json!({"sub": "x".repeat(255)}),
    ] {
        assert!(enter(&access, &signer.token(&claims(&more))).is_ok(), "{more}");
    }
    let text = claims(&json!({})).to_string();
    for (twice, name) in [(r#","exp":1800000001}"#, "exp"), (r#","sub":"b"}"#, "sub")] {
        let text = format!("{}{twice}", &text[..text.len() - 1]);
        let told = why(&access, &signer.of(&json!({"alg": "HS256"}), text.as_bytes()));
        assert!(told.contains(&format!("duplicate field `{name}`")), "{told}");
    }
    let text = text.replace(&EXP.to_string(), "null");
    assert!(why(&access, &signer.of(&json!({"alg": "HS256"}), text.as_bytes())).contains("null"));
    // One that is for somebody is not for a server that has no name.
    let (_file, access) = load(&issuer("idp", "secret.txt", "symbols = [\"*\"]"));
    assert!(why(&access, &signer.token(&claims(&json!({})))).contains("(`aud`)"));
    let free = claims(&json!({"aud": null, "iss": "whoever"}));
    assert!(enter(&access, &signer.token(&free)).is_ok());
}

#[test]
fn a_claim_grants_what_its_issuer_may_and_no_more() {
    let (_file, access) = load(&issuer("idp", "secret.txt", TERMS));
    let of = |claim: &str| {
        let text = claims(&json!({})).to_string();
        let text = format!("{},\"tickcast\":{claim}}}", &text[..text.len() - 1]);
        Signer::hs256().of(&json!({"alg": "HS256"}), text.as_bytes())
    };
    for (claim, expected) in [
        (r#"{"symbols":["*"]}"#, "`symbols` is more"),
        (r#"{"symbols":["sim:A-*","binance:A-*"]}"#, "`symbols` is more"),
        (r#"{"symbols":["si*:A-*"]}"#, "`symbols` is more"),
        (r#"{"channels":["trade","quote"]}"#, "`channels` is more"),
        (r#"{"depth":26}"#, "`depth` is more"),
        (r#"{"max_hz":10.5}"#, "`max_hz` is more"),
        (r#"{"max_subscriptions":6}"#, "`max_subscriptions` is more"),
        (r#"{"connections":3}"#, "`connections` is more"),
        (r#"{"depth":0}"#, "`depth` is not 1 to"),
        (r#"{"depth":-1}"#, "invalid value"),
        (r#"{"depth":"5"}"#, "invalid type"),
        (r#"{"symbols":"sim:A-B"}"#, "invalid type"),
        (r#"{"symbols":["a\nb"]}"#, r#"symbol "a\\nb""#),
        (r#"{"symbols":null}"#, "invalid type: null"),
        (r#"{"symbols":["sim:A-*"],"symbols":["sim:*"]}"#, "duplicate field"),
        (r#"{"symbol":["sim:A-*"]}"#, "unknown field `symbol`"),
        (r#"{"operator":true}"#, "unknown field `operator`"),
        (r#"{"expires":"2099-01-01T00:00:00Z"}"#, "unknown field `expires`"),
        ("null", "invalid type: null"),
        ("[]", "invalid type: sequence, expected an object"),
        (r#"[["sim:*"]]"#, "invalid type: sequence"),
        ("true", "invalid type"),
    ] {
        let told = why(&access, &of(claim));
        assert!(told.contains(expected) && told.lines().count() == 1, "{claim}: {told}");
    }
    let many = vec!["sim:A-B"; limits::CLAIM_PATTERNS + 1];
    assert!(why(&access, &of(&json!({"symbols": many}).to_string())).contains("more than 64"));
    let whole = enter(&access, &of("{}")).expect("in");
    assert!(whole.symbols() == "sim:*" && whole.allows_kind(Channel::Book, 25).is_ok());
    drop(whole);
    let less = enter(&access, &of(r#"{"symbols":["SIM:s0001-*"],"channels":["book"],"depth":5}"#));
    let less = less.expect("in");
    assert!(less.has_name("sim:S0001-USD") && !less.has_name("sim:S0002-USD"));
    assert!(less.allows_kind(Channel::Book, 5).is_ok());
    assert!(less.allows_kind(Channel::Book, 6).is_err());
    assert!(less.allows_channel(Channel::Trade).is_err());
    assert_eq!((less.max_hz(), less.max_subscriptions(100)), (Some(10.0), 5));
    drop(less);
    let none = enter(&access, &of(r#"{"symbols":[]}"#)).expect("in");
    assert!(none.allows_kind(Channel::Trade, 0).is_err());
}

#[test]
fn connections_are_counted_by_holder_and_renewal_needs_no_second() {
    let (_file, access) = load(&issuer("idp", "secret.txt", TERMS));
    let of = |sub: &str, exp: u64| Signer::hs256().token(&claims(&json!({"sub": sub, "exp": exp})));
    let first = enter(&access, &of("ann", EXP)).expect("in");
    let _second = enter(&access, &of("ann", EXP + 1)).expect("in");
    assert_eq!(enter(&access, &of("ann", EXP + 2)).expect_err("out"), Refused::Full);
    let _other = enter(&access, &of("bob", EXP)).expect("in");
    let renew =
        |token: &str, held: &Held| access.of_token(Some(token.as_bytes()), NOW_MS, Some(held));
    let renewed = renew(&of("ann", EXP + 3), &first).expect("in its place");
    assert_eq!(renewed.expires_ms(), Some((EXP + 3 + limits::LEEWAY_SECONDS) * 1_000));
    // In the place of somebody else it is one more.
    assert_eq!(renew(&of("ann", EXP), &_other).expect_err("out"), Refused::Full);
    drop(first);
    assert_eq!(enter(&access, &of("ann", EXP)).expect_err("out"), Refused::Full);
    drop(renewed);
    assert!(enter(&access, &of("ann", EXP)).is_ok());
}

/// Rewrites a file of keys till that is seen: times of files have steps.
fn mend(access: &Access, keys: &File, text: &str) {
    while matches!(access.reload(false), Ok(false)) {
        keys.rewrite(text);
    }
}

#[test]
fn what_changes_of_an_issuer_ends_what_its_tokens_opened() {
    let keys = File::new(&signer::text("secret.txt"));
    let old = "0123456789abcdef0123456789abcdef";
    let text = |more: &str| {
        format!(
            "[[issuer]]\nname = \"a\"\nalgorithms = [\"HS256\"]\nsecret_file = {:?}\niss = \"a\"\nsymbols = [\"*\"]\n{more}\n{}",
            keys.path(),
            issuer("b", "rsa_public.pem", "iss = \"b\"\nsymbols = [\"*\"]")
        )
    };
    keys.rewrite(&format!("{old}\n{}", signer::text("secret.txt")));
    let (file, access) = load(&text(""));
    let of =
        |signer: &Signer, iss: &str| signer.token(&json!({"iss": iss, "sub": "x", "exp": EXP}));
    let tokens = [
        of(&Signer::secret(old.as_bytes()), "a"),
        of(&Signer::hs256(), "a"),
        of(&Signer::rs256("rsa.pem"), "b"),
    ];
    let all = tokens.each_ref().map(|token| enter(&access, token).expect("in"));
    let over = |held: &[Held; 3]| held.each_ref().map(|held| held.is_revoked());
    assert!(access.reload(true).expect("a file"));
    assert_eq!(over(&all), [false; 3]);
    // A key is gone: the file of keys is looked at too, without being asked.
    mend(&access, &keys, "short");
    assert_eq!(over(&all), [false; 3], "a file of keys that will not do changes nothing");
    mend(&access, &keys, &signer::text("secret.txt"));
    assert_eq!(over(&all), [true, false, false]);
    assert!(why(&access, &tokens[0]).contains("signature"));
    // It may grant less: whoever has a token of it comes again.
    file.rewrite(&text("depth = 5"));
    assert!(access.reload(true).expect("a file"));
    assert_eq!(over(&all), [true, true, false]);
    let again = enter(&access, &tokens[1]).expect("in");
    assert!(again.allows_kind(Channel::Book, 6).is_err());
    // It is gone.
    file.rewrite("[anonymous]\nsymbols = []\n");
    assert!(access.reload(true).expect("a file"));
    assert!(all[2].is_revoked() && again.is_revoked());
}

#[test]
fn keys_that_are_for_something_else_are_passed_over() {
    let three = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    let (rsa, ed) = (Signer::rs256("rsa.pem").jwk("r"), Signer::eddsa().jwk("e"));
    let ec = Signer::es256().jwk("c");
    let with = |name: &str, value: Value| {
        let mut key = rsa.clone();
        key[name] = value;
        key
    };
    let set = |keys: &[Value]| {
        let text = json!({"keys": keys}).to_string();
        KeySet::jwks(text.as_bytes(), &three).map(|keys| keys.len())
    };
    assert_eq!(set(&[rsa.clone(), ed.clone(), ec.clone()]), Ok(3));
    let others = [
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "ec"}),
        json!({"kty": "EC", "crv": "P-384", "x": ec["x"], "y": ec["y"]}),
        json!({"kty": "EC", "crv": "P-256", "x": ec["x"]}),
        json!({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "alg": "HS256"}),
        json!({"kty": "OKP", "crv": "X25519", "x": ed["x"]}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
        json!({"kty": 1}),
        json!([]),
        json!(["RSA"]),
        json!("x"),
        json!(null),
        with("use", json!("enc")),
        with("alg", json!("RSA-OAEP")),
        with("alg", json!("HS256")),
        with("key_ops", json!(["encrypt"])),
        with("n", json!(&rsa["n"].as_str().expect("n")[..170])),
        with("n", json!("")),
        with("n", json!("!!")),
    ];
    for other in &others {
        assert!(set(std::slice::from_ref(other)).is_err(), "{other}");
        assert_eq!(set(&[other.clone(), rsa.clone()]), Ok(1), "{other}");
    }
    assert_eq!(set(&vec![rsa.clone(); 100]), Ok(limits::KEYS_PER_ISSUER));
    for text in ["", "{}", "[]", "null", r#"{"keys":{}}"#, r#"{"keys":[]}"#] {
        assert!(KeySet::jwks(text.as_bytes(), &three).is_err(), "{text}");
    }
    let text = json!({"keys": [rsa, ed]}).to_string();
    assert_eq!(KeySet::jwks(text.as_bytes(), &[Algorithm::EdDsa]).map(|keys| keys.len()), Ok(1));
}

#[test]
fn a_token_names_its_key() {
    let file = File::new(
        &json!({"keys": [Signer::rs256("rsa.pem").jwk("one"), Signer::rs256("rsa_other.pem").jwk("two")]})
            .to_string(),
    );
    let (_file, access) = load(&format!(
        "[[issuer]]\nname = \"idp\"\nalgorithms = [\"RS256\"]\nkey_file = {:?}\n{TERMS}",
        file.path()
    ));
    let (one, two) = (Signer::rs256("rsa.pem"), Signer::rs256("rsa_other.pem"));
    for (signer, kid) in [(&one, "one"), (&two, "two")] {
        assert!(enter(&access, &signer.named(kid, &claims(&json!({})))).is_ok());
        // Without a name each is tried.
        assert!(enter(&access, &signer.token(&claims(&json!({})))).is_ok());
    }
    let wrong = why(&access, &one.named("two", &claims(&json!({}))));
    assert_eq!(wrong, "the token's signature is wrong");
    for kid in ["three", "", "../../etc/passwd"] {
        assert!(why(&access, &one.named(kid, &claims(&json!({})))).contains("(`kid`)"), "{kid}");
    }
}

#[test]
fn single_tokens_are_taken_back_and_the_others_stay() {
    let text =
        |more: &str| issuer("a", "secret.txt", &format!("iss = \"a\"\nsymbols = [\"*\"]\n{more}"));
    let (file, access) = load(&text(""));
    let of = |sub: &str, jti: Value| {
        let mut claims = json!({"iss": "a", "sub": sub, "exp": EXP});
        if !jti.is_null() {
            claims["jti"] = jti;
        }
        Signer::hs256().token(&claims)
    };
    let none = Value::Null;
    let tokens =
        [of("ann", json!("1")), of("ann", json!("2")), of("bob", json!("1")), of("eve", none)];
    let all = tokens.each_ref().map(|token| enter(&access, token).expect("in"));
    let over = || all.each_ref().map(|held| held.is_revoked());
    let reload = |more: &str| {
        file.rewrite(&text(more));
        assert!(access.reload(true).expect("a file"));
    };
    reload("revoked_jti = [\"2\", \"3\"]");
    assert_eq!(over(), [false, true, false, false]);
    assert_eq!(why(&access, &tokens[1]), "the token has been taken back");
    assert!(why(&access, &of("bob", json!("3"))).contains("taken back"));
    reload("revoked_sub = [\"ann\"]");
    assert_eq!(over(), [true, true, false, false]);
    assert!(why(&access, &of("ann", json!("9"))).contains("taken back"));
    assert!(enter(&access, &tokens[3]).is_ok());
    // Beside another change, too: the new one has the list from its beginning.
    reload("depth = 5\nrevoked_sub = [\"eve\"]");
    assert_eq!(over(), [true; 4]);
    assert!(why(&access, &tokens[3]).contains("taken back"));
    assert!(enter(&access, &tokens[0]).is_ok());
    assert!(why(&access, &of("bob", json!(7))).contains("claims"), "a `jti` is a text");
    for bad in [String::new(), "x".repeat(256)] {
        assert!(why(&access, &of("bob", json!(bad))).contains("a `jti` of 1 to 255 bytes"));
    }
    let held = enter(&access, &of("bob", json!("a\nb"))).expect("in");
    assert_eq!(held.token.as_deref(), Some("a\\nb"));
}

#[test]
fn mistakes_in_an_issuer_are_told_in_a_line() {
    let dead = "jwks_url = \"http://127.0.0.1:1/\"";
    let with = |lines: &str| format!("[[issuer]]\nname = \"a\"\nsymbols = [\"*\"]\n{lines}\n");
    let key = |name: &str| format!("key_file = {:?}", signer::path(name));
    let short = File::new("short\n");
    let private = signer::path("rsa.pem");
    for (text, expected) in [
        (with(""), "missing field `algorithms`"),
        (with("algorithms = []"), "some of HS256, RS256, ES256, EdDSA"),
        (with("algorithms = [\"none\"]"), "algorithm \"none\""),
        (with("algorithms = [\"RS256\"]"), "expected one of `secret_file`"),
        (with(&format!("algorithms = [\"RS256\"]\n{dead}")), "expected `iss` and `aud`"),
        (
            with("algorithms = [\"RS256\"]\niss=\"a\"\naud=\"b\"\njwks_url = \"http://a.b/c\""),
            "http:// of this machine",
        ),
        (with(&format!("algorithms = [\"HS256\"]\n{dead}")), "expected `secret_file`"),
        (with(&format!("algorithms = [\"HS256\"]\n{}", key("rsa_public.pem"))), "public key"),
        (
            with(&format!("algorithms = [\"HS256\", \"RS256\"]\n{}", key("rsa_public.pem"))),
            "public key",
        ),
        (
            with(&format!("algorithms = [\"RS256\"]\nsecret_file = {private:?}")),
            "is for algorithms",
        ),
        (with(&format!("algorithms = [\"RS256\"]\n{}", key("rsa.pem"))), "no public key in it"),
        (with(&format!("algorithms = [\"RS256\"]\n{}", key("rsa_1024_public.pem"))), "2048 bits"),
        (
            with(&format!("algorithms = [\"RS256\"]\n{}", key("p384_public.pem"))),
            "not of RSA, P-256",
        ),
        (with(&format!("algorithms = [\"RS256\"]\n{}", key("ed25519_public.pem"))), "not one of"),
        (with("algorithms = [\"RS256\"]\nkey_file = \"nowhere\""), "cannot read"),
        (
            with(&format!("algorithms = [\"HS256\"]\nsecret_file = {:?}", short.path())),
            "a secret of 5 characters, expected 32",
        ),
        (with("algorithms = [\"HS256\"]\nleeway = 301"), "`leeway` is not 0 to 300"),
        (
            issuer("a", "secret.txt", "symbols = []\nrevoked_sub = [\"\"]"),
            "`revoked_sub` has \"\", expected 1 to 255 bytes",
        ),
        (with("algorithms = [\"HS256\"]\noperator = true"), "line 5: unknown field `operator`"),
        (issuer("a b", "secret.txt", "symbols = []"), "a `name` of letters"),
        (issuer("a", "secret.txt", ""), "expected `symbols`"),
        (
            issuer("a", "secret.txt", "symbols=[]")
                + &issuer("a", "secret.txt", "symbols=[]\niss=\"x\""),
            "another has this `name`",
        ),
        (
            issuer("a", "secret.txt", "symbols=[]") + &issuer("b", "secret.txt", "symbols=[]"),
            "another has this `iss`",
        ),
    ] {
        let file = File::new(&text);
        let error = Access::load(file.path()).expect_err(expected).to_string();
        assert!(error.contains(expected) && error.lines().count() == 1, "{expected}: {error}");
        assert!(!error.contains("short"), "{error}");
    }
}

#[test]
fn a_holder_writes_no_line_of_the_log() {
    let (_file, access) = load(&issuer("idp", "secret.txt", TERMS));
    let hostile = "x\n2026-01-01 INFO audit: granted who=\"root\" \u{1b}[2J\u{202e}";
    let token = Signer::hs256().token(&claims(&json!({"sub": hostile})));
    let name = enter(&access, &token).expect("in").name.clone();
    assert!(name.is_ascii() && !name.contains(|c: char| c.is_control()), "{name}");
    let claim = json!({"tickcast": {hostile: 1}});
    let told = why(&access, &Signer::hs256().token(&claims(&claim)));
    assert!(told.is_ascii() && !told.contains(|c: char| c.is_control()) && told.len() < 400);
}

proptest! {
    #[test]
    fn what_a_pattern_covers_it_matches(
        most in "[ab*]{1,6}", pattern in "[ab*]{1,6}", text in "[ab]{0,8}",
    ) {
        let new = |text: &str| Pattern::new(&format!("v:{text}")).expect("a pattern");
        let symbol = format!("v:{}", text.to_uppercase());
        let (most, pattern) = (new(&most), new(&pattern));
        if most.covers(&pattern) && pattern.matches(&symbol) {
            prop_assert!(most.matches(&symbol));
        }
    }

    #[test]
    fn nothing_is_beyond_itself(depth in proptest::option::of(1_u16..9), hz in proptest::option::of(1.0..9.0)) {
        let rights = Rights { depth, max_hz: hz, ..Rights::nothing() };
        prop_assert_eq!(rights.beyond(&rights), None);
        let all = Rights { depth: None, max_hz: None, ..rights.clone() };
        let is_less = depth.is_some() || hz.is_some();
        prop_assert_eq!(all.beyond(&rights).is_some(), is_less);
    }
}
