//! What an answer's body is: whole, or made part by part while the client takes it.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// A body. One in parts lets everybody else have a turn between two of them: the control plane is
/// one thread.
#[derive(Default)]
pub(crate) struct Body(Inner);

#[derive(Default)]
enum Inner {
    #[default]
    Empty,
    Whole(Bytes),
    Parts {
        next: Box<dyn FnMut() -> Option<Bytes>>,
        /// Others have had their turn.
        rested: bool,
    },
}

impl Body {
    /// A body that is made as it is sent, by calls of `next` until there is none. An empty part is a turn that
    /// nothing came of, and is not sent.
    pub(crate) fn parts(next: impl FnMut() -> Option<Bytes> + 'static) -> Self {
        Body(Inner::Parts { next: Box::new(next), rested: true })
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Body(Inner::Whole(bytes.into()))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Body").field(&self.size_hint()).finish()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut self.0 {
            Inner::Empty => None,
            Inner::Whole(bytes) => Some(std::mem::take(bytes)),
            Inner::Parts { rested: rested @ false, .. } => {
                *rested = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Inner::Parts { next, rested } => {
                let bytes = next();
                *rested = bytes.as_ref().is_some_and(Bytes::is_empty);
                if *rested {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                bytes
            }
        };
        if bytes.is_none() || matches!(self.0, Inner::Whole(_)) {
            self.0 = Inner::Empty;
        }
        Poll::Ready(bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Empty => true,
            Inner::Whole(bytes) => bytes.is_empty(),
            Inner::Parts { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Parts { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// What each call gives: bytes, `-` for a turn of others, `.` for the end.
    fn polled(mut body: Body) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut seen = Vec::new();
        loop {
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Pending => seen.push("-".to_owned()),
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.into_data().expect("data");
                    seen.push(String::from_utf8(bytes.to_vec()).expect("text"));
                }
                Poll::Ready(None) => {
                    assert!(body.is_end_stream());
                    seen.push(".".to_owned());
                    return seen;
                }
            }
        }
    }

    #[test]
    fn others_have_a_turn_between_two_parts() {
        let parts = || {
            let mut parts = vec![Bytes::from_static(b"cd"), Bytes::from_static(b"ab")];
            move || parts.pop()
        };
        assert_eq!(polled(Body::parts(parts())), ["ab", "-", "cd", "-", "."]);
        let mut some = vec![Bytes::new(), Bytes::from_static(b"ab"), Bytes::new(), Bytes::new()];
        assert_eq!(polled(Body::parts(move || some.pop())), ["-", "-", "ab", "-", "-", "."]);
        assert_eq!(Body::parts(parts()).size_hint().exact(), None);
        assert_eq!(Body::from("abc").size_hint().exact(), Some(3));
        assert_eq!(polled(Body::from("abc")), ["abc", "."]);
        assert_eq!(polled(Body::default()), ["."]);
        assert!(Body::from("").is_end_stream());
    }
}
