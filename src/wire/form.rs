//! In which form a message goes out: the dialect with its variants, and how it is framed.
//!
//! Subscribers of one channel of one instrument that want the same form share one encoding.

use super::frame;

/// A form, in one byte: it is part of what makes two subscriptions the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Form(u8);

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// docs/PROTOCOL.md.
    Native,
    /// Binance's, with the variant in 5 bits: `wire::binance` knows what they say.
    Binance(u8),
}

/// How a message is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Framing {
    /// A WebSocket text frame.
    WebSocket = 0,
    /// The same, compressed (RFC 7692).
    Deflated = 1,
    /// A server-sent event.
    Sse = 2,
}

const BINANCE: u8 = 0b0001_0000;
const VARIANT: u8 = 0b0010_1111;
const FRAMING: u32 = 6;

impl Form {
    /// Native JSON in WebSocket frames.
    pub const NATIVE: Form = Form(0);
    /// Sorts before all others.
    pub const MIN: Form = Form(0);
    /// Sorts behind all others.
    pub const MAX: Form = Form(u8::MAX);

    /// Binance's words in this variant (bits 0 to 3, and 5), in WebSocket frames.
    pub const fn binance(variant: u8) -> Form {
        Form(BINANCE | (variant & VARIANT))
    }

    /// The same with more of the variant's bits set.
    pub const fn with(self, bits: u8) -> Form {
        Form(self.0 | (bits & VARIANT))
    }

    /// Where it is `before` with more bits of the variant, the same of `after`.
    pub const fn instead_of(self, before: Form, after: Form) -> Form {
        Form(self.0 & !before.0 | after.0)
    }

    /// The same words, framed so.
    pub const fn framed(self, framing: Framing) -> Form {
        Form(self.0 & !(0b11 << FRAMING) | (framing as u8) << FRAMING)
    }

    /// Whose words.
    pub const fn language(self) -> Language {
        match self.0 & BINANCE {
            0 => Language::Native,
            _ => Language::Binance(self.0 & VARIANT),
        }
    }

    /// How messages are framed.
    pub const fn framing(self) -> Framing {
        match self.0 >> FRAMING {
            0 => Framing::WebSocket,
            1 => Framing::Deflated,
            _ => Framing::Sse,
        }
    }

    /// Whether it is a stream of server-sent events: nothing comes back, and there are no control frames.
    pub const fn is_stream(self) -> bool {
        matches!(self.framing(), Framing::Sse)
    }

    /// Appends the end of a connection: a close frame, or an event of that name.
    pub(crate) fn close(self, code: Option<u16>, reason: &str, out: &mut Vec<u8>) {
        match (self.framing(), code) {
            (Framing::Sse, code) => {
                let end = serde_json::json!({"code": code, "reason": reason});
                out.extend_from_slice(format!("event: close\ndata: {end}\n\n").as_bytes());
            }
            (_, Some(code)) => frame::close(code, reason, out),
            (_, None) => frame::close_empty(out),
        }
    }

    /// Appends `message` framed.
    pub(crate) fn frame(self, message: &[u8], out: &mut Vec<u8>) {
        match self.framing() {
            Framing::WebSocket | Framing::Deflated => frame::text(message, out),
            Framing::Sse => {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(message);
                out.extend_from_slice(b"\n\n");
            }
        }
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {:?}", self.language(), self.framing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_and_framing_are_apart() {
        for framing in [Framing::WebSocket, Framing::Deflated, Framing::Sse] {
            assert_eq!(Form::NATIVE.framed(framing).language(), Language::Native);
            for variant in (0..16).chain(32..48) {
                let form = Form::binance(variant).framed(framing);
                assert_eq!(
                    (form.language(), form.framing()),
                    (Language::Binance(variant), framing)
                );
                assert!(Form::MIN < form && form < Form::MAX);
            }
        }
    }
}
