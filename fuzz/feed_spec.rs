//! The text of `--feed`: it is understood or refused in one line, and what is shown of one that is understood is understood
//! as the same.
use tickcast_feeds::FeedSpec;

/// The target. Understood is what is the spec of a feed.
pub fn feed_spec(input: &[u8]) -> bool {
    let text = super::text(input);
    let parsed = text.parse::<FeedSpec>();
    let understood = parsed.is_ok();
    match parsed {
        Ok(spec) => {
            let shown = spec.to_string();
            assert_eq!(shown.parse().as_ref(), Ok(&spec), "{text:?} is shown as {shown:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    understood
}
