//! Tokens, and those who sign them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::KIB;

/// Bytes of a token that lets one publish: shorter ones can be guessed, longer ones do not fit the
/// head of a request beside its other fields.
pub const TOKEN_BYTES: RangeInclusive<usize> = 16..=512;

/// Before the end of its token a client is told of it: time to get another.
pub const GRANT_WARNING: Duration = Duration::from_secs(60);

/// Bytes of a signed token. Those of large companies' logins are 2 to 4 KiB; it has to fit the head of a request.
pub const SIGNED_TOKEN_BYTES: usize = 8 * KIB;

/// Bytes of the name (`sub`) in a signed token: what OpenID Connect allows.
pub const SUBJECT_BYTES: usize = 255;

/// Patterns of symbols in a signed token. Each is compared with each symbol for a wildcard, on a reactor's thread.
pub const CLAIM_PATTERNS: usize = 64;

/// Keys of one who signs tokens. A token without a name of its key is tried with each of them, 16 checks at most: less than a
/// millisecond. Large issuers have 2 to 8.
pub const KEYS_PER_ISSUER: usize = 16;

/// Those who sign tokens.
pub const ISSUERS: usize = 16;

/// Bytes of the secret of HS256, at least as long as the hash (RFC 7518, 3.2).
pub const SECRET_BYTES: usize = 32;

/// Seconds that the clocks of who signs a token and of this machine may differ, by default and at most.
pub const LEEWAY_SECONDS: u64 = 5;

/// See [`LEEWAY_SECONDS`].
pub const LEEWAY_SECONDS_MAX: u64 = 300;

/// Between two requests for keys: those who publish them say a day or more, and announce new ones hours before.
pub const JWKS_REFRESH: Duration = Duration::from_secs(300);

/// Between two requests for keys after one that failed.
pub const JWKS_RETRY: Duration = Duration::from_secs(15);

/// Between two requests for keys because of a token with a key that is not known: anybody can make one up.
pub const JWKS_COOLDOWN: Duration = Duration::from_secs(5);

/// Between two looks at whether keys are due.
pub const JWKS_POLL: Duration = Duration::from_secs(1);

/// For an answer with keys.
pub const JWKS_TIMEOUT: Duration = Duration::from_secs(5);

/// A request with a key that is not known waits so long for keys that are under way.
pub const JWKS_WAIT: Duration = Duration::from_secs(2);

/// Bytes of an answer with keys: 16 keys with their certificates are 64 KiB.
pub const JWKS_BYTES: usize = 256 * KIB;

/// Requests that a wrong token counts as: with the default rate, some ten a second can be tried.
pub const REQUESTS_PER_GUESS: usize = 10;
