//! The bytes a client sends, made into messages.
//!
//! A session has no read buffer: the reactor reads into one scratch buffer for all and hands the bytes to the session's [`Reader`].
//! A [`Reader`] is two words; it has memory on the heap only while a frame or message is unfinished, and then never much more than that message.

use std::ops::ControlFlow;

use fastwebsockets::{OpCode, unmask};

use super::assembly::Assembly;
use super::guard::{self, Head, Walk};
pub use super::guard::{ReadLimits, Violation};
use crate::wire::deflate::{Fault, Inflater};
use crate::wire::frame::MAX_CONTROL_PAYLOAD;

/// One thing a client said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole text message, valid UTF-8.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping: to be answered with a pong of the same payload (RFC 6455 section 5.5.2). At most 125 bytes.
    Ping(&'a [u8]),
    /// A pong. At most 125 bytes.
    Pong(&'a [u8]),
    /// A close: to be answered with one of the same code (RFC 6455 section 5.5.1). Nothing comes after it.
    Close {
        /// The code, if there is one; one that may be sent (RFC 6455 section 7.4).
        code: Option<u16>,
        /// The reason, possibly empty. At most 123 bytes.
        reason: &'a str,
    },
}

/// What reads one client's bytes like another's.
struct Rules<'a> {
    limits: &'a ReadLimits,
    inflater: &'a mut Inflater,
}

/// Reads one client's frames.
///
/// A message that lies whole and unfragmented in the reactor's buffer, as nearly all requests and pongs do, is
/// unmasked where it lies and not copied: handing it to a fastwebsockets reader would cost that reader's
/// buffer of 8 KiB, a copy and several allocations. Every other message is assembled by a fastwebsockets
/// `FragmentCollector`, which lives as long as the message is unfinished. A compressed message (RFC 7692) is collected
/// as it came and inflated when it is whole: so one [`Inflater`] serves all clients.
#[derive(Default)]
pub struct Reader {
    partial: Option<Box<Partial>>,
    closed: bool,
    unread: u32,
}

/// What an unfinished frame or message needs.
#[derive(Default)]
struct Partial {
    /// The beginning of a head, or of a control frame.
    stash: Stash,
    /// The data frame whose payload is coming in.
    frame: Option<Unfinished>,
    /// The message it belongs to, or whose next fragment is awaited.
    message: Option<Assembly>,
}

struct Unfinished {
    head: Head,
    /// Payload bytes that have not come yet.
    left: usize,
}

impl Reader {
    /// A reader at the start of a connection, after the handshake.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing more is read: the client closed, broke a rule, or `out` said so.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many bytes at the end of those that came last were not looked at, because nothing more is read.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.unread as usize
    }

    /// Whether a frame or message is unfinished (and memory held for it).
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Heap bytes held for what is unfinished, nearly.
    #[must_use]
    pub fn held(&self) -> usize {
        let Some(partial) = self.partial.as_deref() else { return 0 };
        size_of::<Partial>() + partial.message.as_ref().map_or(0, Assembly::held)
    }

    /// Takes the next bytes of the connection, however they are cut, and calls `out` with what they complete, in order; control frames at once, also
    /// inside a fragmented message. The bytes are unmasked in place; `inflater` is for messages that are compressed. After `out` returns `Break`, after a close frame and after an error, all
    /// further bytes are ignored.
    ///
    /// # Errors
    /// The rule that the client broke: the session answers with a close frame of [`Violation::code`].
    pub fn feed(
        &mut self,
        bytes: &mut [u8],
        limits: &ReadLimits,
        inflater: &mut Inflater,
        out: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<(), Violation> {
        let rules = &mut Rules { limits, inflater };
        let mut read = 0;
        let mut result = Ok(());
        while read < bytes.len() && !self.closed {
            match self.step(&mut bytes[read..], rules, out) {
                Ok((taken, flow)) => {
                    read += taken;
                    self.closed = flow.is_break();
                }
                Err(violation) => {
                    self.closed = true;
                    result = Err(violation);
                }
            }
        }
        self.unread = (bytes.len() - read) as u32;
        if self.closed || self.partial.as_deref().is_some_and(Partial::is_empty) {
            self.partial = None;
        }
        result
    }

    /// Takes bytes up to the end of a frame, or all.
    fn step(
        &mut self,
        bytes: &mut [u8],
        rules: &mut Rules<'_>,
        out: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Step {
        match self.partial.as_deref_mut() {
            Some(partial) if partial.frame.is_some() => {
                return partial.continue_data(bytes, rules, out);
            }
            Some(partial) if !partial.stash.is_empty() => {
                return partial.continue_stash(bytes, rules, out);
            }
            _ => {}
        }
        let open = self.partial.as_deref().and_then(Partial::open);
        match guard::walk(bytes, open, rules.limits)? {
            Walk::Head(head) if head.is_control() && bytes.len() >= head.size + head.len => {
                let end = head.size + head.len;
                Ok((end, control(&head, &mut bytes[head.size..end], out)?))
            }
            Walk::Head(head) if !head.is_control() => {
                let payload = &mut bytes[head.size..];
                if head.fin && open.is_none() && payload.len() >= head.len {
                    return Ok((
                        head.size + head.len,
                        whole(&head, &mut payload[..head.len], rules, out)?,
                    ));
                }
                let partial = self.partial.get_or_insert_default();
                partial.frame = Some(Unfinished { head, left: head.len });
                let (taken, flow) = partial.continue_data(payload, rules, out)?;
                Ok((head.size + taken, flow))
            }
            Walk::Head(_) | Walk::Need(_) => {
                let taken = self.partial.get_or_insert_default().stash.take(bytes, bytes.len());
                Ok((taken, ControlFlow::Continue(())))
            }
        }
    }
}

/// How many bytes were taken, and whether to go on.
type Step = Result<(usize, ControlFlow<()>), Violation>;

impl Partial {
    fn is_empty(&self) -> bool {
        self.stash.is_empty() && self.frame.is_none() && self.message.is_none()
    }

    /// Between two frames: the payload bytes so far of the message that is unfinished.
    fn open(&self) -> Option<usize> {
        self.message.as_ref().map(Assembly::len)
    }

    /// Takes bytes until the stash holds a data frame's head or a whole control frame.
    fn continue_stash(
        &mut self,
        bytes: &mut [u8],
        rules: &mut Rules<'_>,
        out: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Step {
        let mut read = 0;
        loop {
            let need = match guard::walk(self.stash.bytes(), self.open(), rules.limits)? {
                Walk::Head(head) if !head.is_control() => {
                    self.stash.clear();
                    self.frame = Some(Unfinished { head, left: head.len });
                    let (taken, flow) = self.continue_data(&mut bytes[read..], rules, out)?;
                    return Ok((read + taken, flow));
                }
                Walk::Head(head) if self.stash.len() == head.size + head.len => {
                    let flow = control(&head, &mut self.stash.bytes_mut()[head.size..], out);
                    self.stash.clear();
                    return Ok((read, flow?));
                }
                Walk::Head(head) => head.size + head.len - self.stash.len(),
                Walk::Need(need) => need,
            };
            if read == bytes.len() {
                return Ok((read, ControlFlow::Continue(())));
            }
            read += self.stash.take(&bytes[read..], need);
        }
    }

    /// Takes payload bytes of the data frame at hand.
    fn continue_data(
        &mut self,
        bytes: &mut [u8],
        rules: &mut Rules<'_>,
        out: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Step {
        let Some(Unfinished { head, left }) = &mut self.frame else {
            return Ok((0, ControlFlow::Continue(())));
        };
        let taken = bytes.len().min(*left);
        if taken == 0 && *left > 0 {
            return Ok((0, ControlFlow::Continue(())));
        }
        let payload = &mut bytes[..taken];
        let mut mask = head.mask;
        mask.rotate_left((head.len - *left) % 4);
        *left -= taken;
        let (head, complete) = (*head, *left == 0);
        if complete {
            self.frame = None;
        }
        if self.message.is_none() && head.fin && taken == head.len {
            return Ok((taken, whole(&head, payload, rules, out)?));
        }
        let message = self.message.get_or_insert_with(|| Assembly::new(head.opcode, head.deflated));
        let (opcode, deflated) = (message.opcode(), message.is_deflated());
        let Some(assembled) = message.push(payload, mask, complete && head.fin)? else {
            return Ok((taken, ControlFlow::Continue(())));
        };
        self.message = None;
        Ok((taken, deliver(opcode, deflated, &assembled.payload, rules, out)?))
    }
}

/// A message in one piece: unmasked where it lies.
fn whole(
    head: &Head,
    payload: &mut [u8],
    rules: &mut Rules<'_>,
    out: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Violation> {
    unmask(payload, head.mask);
    deliver(head.opcode, head.deflated, payload, rules, out)
}

fn deliver(
    opcode: OpCode,
    deflated: bool,
    payload: &[u8],
    rules: &mut Rules<'_>,
    out: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Violation> {
    let max = rules.limits.max_message_bytes;
    let payload = match deflated {
        false => payload,
        true => rules.inflater.inflate(payload, max).map_err(|fault| match fault {
            Fault::Invalid => Violation::Deflate,
            Fault::TooLong => Violation::MessageTooLong { got: max as u64 + 1, max },
        })?,
    };
    Ok(out(match opcode {
        OpCode::Text => {
            Incoming::Text(std::str::from_utf8(payload).map_err(|_| Violation::TextNotUtf8)?)
        }
        _ => Incoming::Binary(payload),
    }))
}

fn control(
    head: &Head,
    payload: &mut [u8],
    out: &mut impl FnMut(Incoming<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Violation> {
    unmask(payload, head.mask);
    match head.opcode {
        OpCode::Ping => Ok(out(Incoming::Ping(payload))),
        OpCode::Pong => Ok(out(Incoming::Pong(payload))),
        _ => {
            let (code, reason) = guard::close_payload(payload)?;
            // Whatever `out` says: a close is the last frame that is read (RFC 6455 section 5.5.1).
            let _ = out(Incoming::Close { code, reason });
            Ok(ControlFlow::Break(()))
        }
    }
}

/// Room for a head or a whole control frame; either is at most 6 + 125 bytes.
struct Stash {
    bytes: [u8; 6 + MAX_CONTROL_PAYLOAD],
    len: u8,
}

impl Default for Stash {
    fn default() -> Self {
        Self { bytes: [0; 6 + MAX_CONTROL_PAYLOAD], len: 0 }
    }
}

impl Stash {
    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn len(&self) -> usize {
        usize::from(self.len)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.len)]
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    /// Copies up to `want` bytes from the front of `bytes`, and says how many.
    fn take(&mut self, bytes: &[u8], want: usize) -> usize {
        let free = &mut self.bytes[usize::from(self.len)..];
        let taken = want.min(bytes.len()).min(free.len());
        free[..taken].copy_from_slice(&bytes[..taken]);
        self.len += taken as u8;
        taken
    }
}

#[cfg(test)]
mod tests;
