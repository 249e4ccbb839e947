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
        /// Bytes still to come, where they are known.
        left: Option<u64>,
        /// Others have had their turn.
        rested: bool,
    },
}

impl Body {
    /// A body that is made as it is sent, by calls of `next` until there is none. `len`: its
    /// bytes, where they are known beforehand.
    pub(crate) fn parts(len: Option<u64>, next: impl FnMut() -> Option<Bytes> + 'static) -> Self {
        Body(Inner::Parts { next: Box::new(next), left: len, rested: true })
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
            Inner::Parts { next, left, rested } => {
                *rested = false;
                let bytes = next();
                if let (Some(left), Some(bytes)) = (left, &bytes) {
                    *left = left.saturating_sub(bytes.len() as u64);
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
            Inner::Parts { left, .. } => *left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Parts { left: Some(left), .. } => SizeHint::with_exact(*left),
            Inner::Parts { .. } => SizeHint::default(),
        }
    }
}
