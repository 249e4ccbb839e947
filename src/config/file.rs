//! The configuration file: TOML whose keys are the flags' names, with `-` or `_`.

use std::fs::File;
use std::io::Read;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use crate::cli::{Given, Origin, Settings, setting_names};
use crate::limits;

/// Reads a file's settings; `place` is the flag or the variable that named it.
///
/// # Errors
/// The file cannot be read, is no TOML, or has a key or a kind of value that no flag has; with the
/// line.
pub(super) fn read(place: &'static str, path: &str) -> Result<Settings, ConfigError> {
    let cannot = |why: String| ConfigError::File { place, path: path.to_owned(), why };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| cannot(error.to_string()))?;
    let size = file.take(limits::CONFIG_FILE_BYTES + 1).read_to_string(&mut text);
    let size = size.map_err(|error| cannot(error.to_string()))?;
    if size as u64 > limits::CONFIG_FILE_BYTES {
        let most = limits::CONFIG_FILE_BYTES;
        return Err(cannot(format!("larger than {most} bytes, expected a TOML file of settings")));
    }
    parse(path, &text)
}

/// Reads settings from a file's text.
fn parse(path: &str, text: &str) -> Result<Settings, ConfigError> {
    let at = |offset: usize, why: String| ConfigError::Line {
        path: path.to_owned(),
        line: line_of(text, offset),
        why,
    };
    let table = DeTable::parse(text).map_err(|error| {
        at(error.span().map_or(0, |span| span.start), error.message().replace('\n', ", "))
    })?;
    let names = setting_names();
    let mut settings = Settings::new();
    for (key, value) in table.into_inner() {
        let offset = key.span().start;
        let name = key.get_ref().replace('_', "-");
        if !names.contains(&name) {
            return Err(at(offset, unknown(key.get_ref(), &names)));
        }
        let values = texts(&name, value.get_ref())
            .map_err(|expected| at(value.span().start, format!("{name}: {expected}")))?;
        let line = line_of(text, value.span().start);
        let origin = Origin::File { path: path.to_owned(), line };
        if settings.insert(name.clone(), Given { origin, values }).is_some() {
            return Err(at(offset, format!("{name} is given twice, with `-` and with `_`")));
        }
    }
    Ok(settings)
}

/// The value as a flag would give it.
fn texts(name: &str, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    if !matches!(
        name,
        "feed" | "cors-origin" | "tls-cert" | "tls-key" | "exempt-address" | "trusted-proxy"
    ) {
        return scalar(value, "a string, an integer or a boolean").map(|text| vec![text]);
    }
    let expected = match name {
        "feed" => "a string or an array of strings such as [\"synthetic:\"]",
        _ => "a string or an array of strings such as [\"https://example.com\"]",
    };
    match value {
        DeValue::Array(items) => {
            items.iter().map(|item: &Spanned<_>| scalar(item.get_ref(), expected)).collect()
        }
        other => scalar(other, expected).map(|text| vec![text]),
    }
}

fn scalar(value: &DeValue<'_>, expected: &str) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| format!("expected {expected}, found an integer out of range")),
        DeValue::Float(number) => {
            Err(format!("expected {expected}, found the float {}", number.as_str()))
        }
        other => Err(format!("expected {expected}, found {} {}", article(other), other.type_str())),
    }
}

fn article(value: &DeValue<'_>) -> &'static str {
    if matches!(value, DeValue::Array(_)) { "an" } else { "a" }
}

/// The message about a key that no flag has, with the nearest one that exists.
fn unknown(key: &str, names: &[String]) -> String {
    let key = super::cut(key);
    let plain = key.replace('_', "-").to_lowercase();
    let near = names
        .iter()
        .map(|name| (strsim::jaro_winkler(name, &plain), name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, name)) => format!("unknown key {key:?}, did you mean {name}?"),
        None => format!("unknown key {key:?}, expected one of {}", names.join(", ")),
    }
}

/// The line of a byte offset, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_flags_names_with_dashes_or_underscores() {
        let settings = parse(
            "t.toml",
            "# comment\nring-slots = 65_536\nslow_grace = '2s'\n\npin = false\nfeed = [\n'a:',\n'b:']",
        )
        .unwrap();
        let get = |name: &str| settings[name].values.clone();
        assert_eq!(get("ring-slots"), ["65536"]);
        assert_eq!(get("slow-grace"), ["2s"]);
        assert_eq!(get("pin"), ["false"]);
        assert_eq!(get("feed"), ["a:", "b:"]);
        let line = |name: &str| settings[name].origin.clone();
        assert_eq!(line("pin"), Origin::File { path: "t.toml".to_owned(), line: 5 });
        assert_eq!(parse("t", "ring-slots = 0x1_0000").unwrap()["ring-slots"].values, ["65536"]);
    }

    #[test]
    fn errors_are_one_line_with_file_line_key_and_what_was_expected() {
        for (text, words) in [
            ("\nring-slot = 1", &["t.toml:2: ", "\"ring-slot\"", "did you mean ring-slots?"][..]),
            ("Listen = 'x'", &["t.toml:1: ", "\"Listen\"", "did you mean listen?"]),
            ("zzz = 1", &["t.toml:1: ", "\"zzz\"", "expected one of listen, "]),
            ("config = 'x'", &["t.toml:1: ", "\"config\""]),
            ("\n\n[network]\nlisten = 'x'", &["t.toml:3: ", "\"network\""]),
            ("reactors = 1.5", &["t.toml:1: reactors: expected", "float 1.5"]),
            ("slow-grace = 1979-05-27", &["t.toml:1: slow-grace: expected", "a datetime"]),
            ("listen = ['a']", &["t.toml:1: listen: expected a string", "an array"]),
            ("feed = [1.5]", &["t.toml:1: feed: expected", "array of strings", "1.5"]),
            ("listen = ", &["t.toml:1: "]),
            ("listen = 'a'\nlisten = 'b'", &["t.toml:2: ", "duplicate key"]),
            ("ring-slots = 1\nring_slots = 1", &["t.toml:2: ", "twice"]),
        ] {
            let error = parse("t.toml", text).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{text:?}: {error}");
            }
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
