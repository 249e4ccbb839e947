//! When a certificate is valid. rustls shows no dates of certificates, so the few fields before them are
//! stepped over here (RFC 5280 section 4.1).

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// From when to when something is valid, Unix time in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) begins: u64,
    pub(crate) ends: u64,
}

/// That of the first certificate of a file.
pub(crate) fn of_file(path: &Path) -> Option<Validity> {
    let first = CertificateDer::pem_file_iter(path).ok()?.next()?.ok()?;
    of_certificate(&first)
}

/// The same of a certificate.
pub(crate) fn of_certificate(der: &[u8]) -> Option<Validity> {
    let certificate = &mut content(&mut { der }, SEQUENCE)?;
    let fields = &mut content(certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        element(fields)?;
    }
    // The serial number, the signature's algorithm, the issuer.
    for _ in 0..3 {
        element(fields)?;
    }
    let validity = &mut content(fields, SEQUENCE)?;
    let mut time = || element(validity).and_then(|(tag, text)| unix_seconds(tag, text));
    Some(Validity { begins: time()?, ends: time()? })
}

/// Takes the next element: its tag and its content.
fn element<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], mut rest) = bytes.split_first_chunk()?;
    let len = match first {
        0..=0x7f => usize::from(first),
        // Of a certificate, four bytes of length are more than enough.
        0x81..=0x84 => {
            let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = after;
            digits.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(len)?;
    *bytes = after;
    Some((tag, content))
}

fn content<'a>(bytes: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    let (tag, content) = element(bytes)?;
    (tag == wanted).then_some(content)
}

/// `YYMMDDHHMMSSZ` before 2050, `YYYYMMDDHHMMSSZ` after (RFC 5280 section 4.1.2.5).
fn unix_seconds(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = digits.split_at_checked(match tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    })?;
    let year: i64 = year.parse().ok()?;
    let year = match tag {
        UTC_TIME if year < 50 => 2000 + year,
        UTC_TIME => 1900 + year,
        _ => year,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day, hour, minute, second) = (two(0)?, two(2)?, two(4)?, two(6)?, two(8)?);
    let days = crate::access::days(year, month, day);
    u64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).ok()
}
