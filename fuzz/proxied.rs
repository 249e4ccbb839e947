//! The PROXY protocol: a header asks for no byte that is not its own, and says the same whatever follows it.
use tickcast::transport::proxied::{Step, parse};

/// The target. Understood is a header that is whole.
pub fn proxied(input: &[u8]) -> bool {
    let Ok(Step::Done { len, client }) = parse(input) else { return false };
    assert_eq!(parse(&input[..len]), Ok(Step::Done { len, client }));
    let mut have = 0;
    while have < len {
        let Ok(Step::More(more)) = parse(&input[..have]) else {
            panic!("whole at {have} of {len}")
        };
        assert!(more > 0);
        have += more;
    }
    assert_eq!(have, len);
    true
}
