//! The text of `--feed`: it is understood or refused in one line, and what is shown of one that is understood is understood
//! as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tickcast_feeds::FeedSpec;

fuzz_target!(|text: &str| {
    match text.parse::<FeedSpec>() {
        Ok(spec) => {
            let shown = spec.to_string();
            assert_eq!(shown.parse().as_ref(), Ok(&spec), "{text:?} is shown as {shown:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
