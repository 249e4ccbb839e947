//! The PROXY protocol: a header asks for no byte that is not its own, and says the same whatever follows it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tickcast::transport::proxied::{Step, parse};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Step::Done { len, client }) = parse(bytes) else { return };
    assert_eq!(parse(&bytes[..len]), Ok(Step::Done { len, client }));
    let mut have = 0;
    while have < len {
        let Ok(Step::More(more)) = parse(&bytes[..have]) else { panic!("whole at {have} of {len}") };
        assert!(more > 0);
        have += more;
    }
    assert_eq!(have, len);
});
