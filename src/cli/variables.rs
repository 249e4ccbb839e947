//! Variables of the environment that are meant for this program, and are not of it.

use super::{CLIENT_TOKEN, TOKEN_VARIABLE, UsageError, setting_names, variable};

/// How many letters may be wrong in one that is taken for a mistake: others may set variables that begin alike,
/// as Kubernetes does for a service of this name (`TICKCAST_PORT`).
const WRONG_LETTERS: usize = 2;

/// Refuses a variable that is a setting's but for a letter or two. Passed over, it would leave its setting at the
/// default: a server that was meant to ask for tokens would be open to all.
///
/// # Errors
/// Which, and what was meant.
pub(super) fn check(variables: impl Iterator<Item = String>) -> Result<(), UsageError> {
    let ours: Vec<String> = setting_names()
        .iter()
        .map(|name| variable(name))
        .chain(
            [TOKEN_VARIABLE, CLIENT_TOKEN, "TICKCAST_CONFIG", "TICKCAST_DATA"].map(str::to_owned),
        )
        .collect();
    for name in variables.filter(|name| name.starts_with("TICKCAST_") && !ours.contains(name)) {
        let letters = |known: &&String| strsim::damerau_levenshtein(known, &name);
        if let Some(meant) = ours.iter().min_by_key(letters)
            && letters(&meant) <= WRONG_LETTERS
        {
            return Err(UsageError(format!("{name}: no such variable, did you mean {meant}?")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str) -> Option<String> {
        check(["HOME", name].iter().map(|name| (*name).to_owned())).err().map(|error| error.0)
    }

    #[test]
    fn a_letter_or_two_are_a_mistake_and_what_is_not_ours_is_none() {
        let why = "TICKCAST_REACTOR: no such variable, did you mean TICKCAST_REACTORS?";
        assert_eq!(told("TICKCAST_REACTOR").as_deref(), Some(why));
        assert!(told("TICKCAST_LISTEN_TSL").is_some_and(|why| why.ends_with("_LISTEN_TLS?")));
        for name in [
            "TICKCAST_ACCESS",
            "TICKCAST_CONFIG",
            "TICKCAST_DRILL",
            "TICKCAST_DATA",
            TOKEN_VARIABLE,
            CLIENT_TOKEN,
            "TICKCAST_PORT",
            "TICKCAST_PORT_7070_TCP_ADDR",
            "TICKCAST_SERVICE_HOST",
            "TICKCAST_SERVICE_PORT",
            "TICK_REACTOR",
        ] {
            assert_eq!(told(name), None, "{name}");
        }
    }
}
