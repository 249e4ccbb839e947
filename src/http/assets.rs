//! The page at `/` and its files under `/web/`, embedded in the binary.

use std::str;

/// The `Content-Security-Policy` of the page and of each of its files.
///
/// Everything comes from this server and nothing is inline. `ws:` and `wss:` are named because
/// `'self'` covers the WebSocket schemes only in newer browsers. The page writes text nodes, never
/// markup, so trusted types cost it nothing and close the door on injection through a symbol's name.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; \
    object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// One embedded file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// The value of `Content-Type`.
    pub mime: &'static str,
    /// The bytes, as they are served.
    pub body: &'static [u8],
    /// The value of `ETag`, quotes included: it changes when the body does.
    pub etag: &'static str,
}

/// The file at a request's path (without its query), or `None` where there is none.
pub fn find(path: &str) -> Option<Asset> {
    ASSETS.iter().find(|(at, _)| *at == path).map(|(_, asset)| *asset)
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A path and the file of `web/` behind it.
macro_rules! asset {
    ($path:literal, $file:literal, $mime:expr) => {{
        const BODY: &[u8] = include_bytes!(concat!("../../web/", $file));
        const ETAG: [u8; 18] = etag(BODY);
        ($path, Asset { mime: $mime, body: BODY, etag: ascii(&ETAG) })
    }};
}

/// Every path that is served; a file of `web/` that is not here does not exist for a browser.
static ASSETS: [(&str, Asset); 17] = [
    asset!("/", "index.html", HTML),
    asset!("/web/style.css", "style.css", CSS),
    asset!("/web/icon.svg", "icon.svg", SVG),
    asset!("/web/book.js", "book.js", SCRIPT),
    asset!("/web/columns.js", "columns.js", SCRIPT),
    asset!("/web/connection.js", "connection.js", SCRIPT),
    asset!("/web/decimal.js", "decimal.js", SCRIPT),
    asset!("/web/detail.js", "detail.js", SCRIPT),
    asset!("/web/dom.js", "dom.js", SCRIPT),
    asset!("/web/format.js", "format.js", SCRIPT),
    asset!("/web/histogram.js", "histogram.js", SCRIPT),
    asset!("/web/identity.js", "identity.js", SCRIPT),
    asset!("/web/main.js", "main.js", SCRIPT),
    asset!("/web/market.js", "market.js", SCRIPT),
    asset!("/web/server.js", "server.js", SCRIPT),
    asset!("/web/table.js", "table.js", SCRIPT),
    asset!("/favicon.ico", "icon.svg", SVG),
];

/// FNV-1a of 64 bits in hex, in quotes: names a version, guards against nothing.
const fn etag(body: &[u8]) -> [u8; 18] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < body.len() {
        hash = (hash ^ body[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    let mut text = [b'"'; 18];
    let mut digit = 0;
    while digit < 16 {
        text[digit + 1] = b"0123456789abcdef"[(hash >> (60 - 4 * digit)) as usize & 15];
        digit += 1;
    }
    text
}

/// The text of bytes that are known to be ASCII; anything else stops the build, not the server.
const fn ascii(bytes: &'static [u8]) -> &'static str {
    match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("an etag is made of hex digits"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn page() -> &'static str {
        str::from_utf8(find("/").expect("the page").body).expect("UTF-8")
    }

    #[test]
    fn every_file_of_web_is_served_as_it_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let mut served = BTreeSet::new();
        for entry in fs::read_dir(&folder).expect("the folder web") {
            let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            let path = match name.as_str() {
                // Tells Node that the modules are modules; no browser reads it.
                "package.json" => continue,
                "index.html" => "/".to_owned(),
                _ => format!("/web/{name}"),
            };
            let asset = find(&path).unwrap_or_else(|| panic!("{path} is not served"));
            assert_eq!(asset.body, fs::read(folder.join(&name)).expect("the file"), "{path}");
            served.insert(path);
        }
        assert_eq!(served.len() + 1, ASSETS.len(), "all files and the icon's second name");
    }

    #[test]
    fn types_are_the_ones_that_a_browser_insists_on() {
        assert_eq!(find("/").expect("the page").mime, "text/html; charset=utf-8");
        let script = find("/web/main.js").expect("a module");
        assert_eq!(script.mime, "text/javascript; charset=utf-8");
        assert_eq!(find("/web/style.css").expect("a style").mime, "text/css; charset=utf-8");
        assert_eq!(find("/favicon.ico").expect("an icon").mime, "image/svg+xml");
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in
            ["", "/web/", "/web/index.html", "/web/package.json", "/web/../Cargo.toml", "//"]
        {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn etags_name_the_content() {
        // FNV-1a's published test vectors: the empty input and "a".
        assert_eq!(&etag(b""), b"\"cbf29ce484222325\"");
        assert_eq!(&etag(b"a"), b"\"af63dc4c8601ec8c\"");
        let names: BTreeSet<_> = ASSETS.iter().map(|(_, asset)| asset.etag).collect();
        assert_eq!(names.len(), ASSETS.len() - 1, "one per file; the icon has two paths");
    }

    #[test]
    fn the_page_needs_nothing_that_the_policy_forbids() {
        assert!(CONTENT_SECURITY_POLICY.contains("default-src 'self'"));
        assert!(!CONTENT_SECURITY_POLICY.contains("unsafe"));
        for (path, _) in page().match_indices("/web/") {
            let rest = &page()[path..];
            let end = rest.find('"').expect("the end of the attribute");
            assert!(find(&rest[..end]).is_some(), "{} is linked but not served", &rest[..end]);
        }
        for inline in [" style=", "<style", " onclick=", "<script>", "http://", "https://"] {
            assert!(!page().contains(inline), "{inline} in the page");
        }
    }
}
