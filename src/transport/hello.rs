//! What a port for TLS makes of those who do not speak it.

/// The answer to HTTP where TLS is spoken.
pub(super) const WRONG_PORT: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
Content-Length: 68\r\nConnection: close\r\n\r\nthis port speaks TLS: use https:// or wss:// instead of http or ws\n\n";

/// Whether these bytes begin a request of HTTP.
pub(super) fn is_http(bytes: &[u8]) -> bool {
    let methods: [&[u8]; 4] = [b"GET ", b"HEAD ", b"POST ", b"OPTIONS "];
    methods.iter().any(|method| bytes.starts_with(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(WRONG_PORT).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
        assert!(is_http(b"GET / HTTP/1.1\r\n") && !is_http(b"\x16\x03\x01"));
    }
}
