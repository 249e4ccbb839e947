//! What is wrong with a file in PEM, in words of our own: the library's quote the line, and of a key that was
//! pasted into one line that is the key.

use rustls::pki_types::pem::Error;

/// What is wrong, without a byte of the file.
pub fn why(error: &Error) -> String {
    match error {
        Error::IllegalSectionStart { .. } => {
            "its first line is not as `-----BEGIN ...-----`".to_owned()
        }
        Error::MissingSectionEnd { .. } => {
            "no line of its own after `-----BEGIN ...-----` is `-----END ...-----`".to_owned()
        }
        Error::Base64Decode(_) => "what is in it is not base64".to_owned(),
        Error::NoItemsFound => "nothing like that is in it".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn no_part_of_a_key_is_told() {
        let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----\n";
        for (text, told) in [
            (key.replace('\n', ""), "no line of its own"),
            (key.replace("-----\nMC4", "MC4"), "first line"),
            (key.replace("MC4", "M*4"), "not base64"),
            (key.replace("PRIVATE", "SECRET"), "nothing like that"),
        ] {
            let error = PrivateKeyDer::from_pem_slice(text.as_bytes()).expect_err(&text);
            let why = super::why(&error);
            assert!(why.contains(told), "{text:?}: {why}");
            // The library tells it in numbers.
            assert!(!why.contains("MC4") && !why.contains("77, 67, 52"), "{why}");
        }
    }
}
