//! Faults that an operator, or a test, may provoke: what cannot be provoked cannot be practised.
//!
//! Only where `TICKCAST_DRILL` is set, and only by clients that send its value, with the fault behind it.

/// The variable with the text that asks for a fault.
const VARIABLE: &str = "TICKCAST_DRILL";

/// Shorter texts are guessed.
const BYTES: usize = 16;

/// What happens to the reactor of the client that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It panics over the message.
    Panic,
    /// It panics in its next turn.
    PanicInTurn,
    /// The process sees its wall clock step by so many seconds.
    ClockStep(i64),
}

/// The text that asks for faults.
#[derive(Clone, Debug)]
pub(crate) struct Drill(String);

impl Drill {
    /// What the environment says; warns where there is one.
    pub(crate) fn from_env() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        if text.len() < BYTES {
            tracing::warn!(
                "{VARIABLE} is ignored: it has {} characters, expected {BYTES} or more",
                text.len()
            );
            return None;
        }
        tracing::warn!(
            "{VARIABLE} is set: clients that send its value can make parts of this server fail"
        );
        Some(Drill(text))
    }

    /// What a message asks for.
    pub(crate) fn of(&self, message: &str) -> Option<Fault> {
        let mut words = message.strip_prefix(&self.0)?.split_whitespace();
        match (words.next()?, words.next(), words.next()) {
            ("panic", None, None) => Some(Fault::Panic),
            ("panic", Some("turn"), None) => Some(Fault::PanicInTurn),
            ("clock", Some(seconds), None) => seconds.parse().ok().map(Fault::ClockStep),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_asked_for_by_the_text_and_a_word() {
        let drill = Drill("sixteen letters!".to_owned());
        let of = |rest: &str| drill.of(&format!("sixteen letters!{rest}"));
        assert_eq!(of(" panic"), Some(Fault::Panic));
        assert_eq!(of(" panic turn"), Some(Fault::PanicInTurn));
        assert_eq!(of(" clock -3600"), Some(Fault::ClockStep(-3600)));
        for text in ["", " panics", " panic now", " clock", " clock soon", " clock 1 2"] {
            assert_eq!(of(text), None, "{text:?}");
        }
        assert_eq!(drill.of("panic"), None);
    }
}
