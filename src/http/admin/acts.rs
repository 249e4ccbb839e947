//! What operators do, one function each; a line for the audit wherever something changes or clients'
//! addresses are shown.

use std::sync::atomic::Ordering;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Act, Door};
use crate::config::{Secret, cut};
use crate::http::rest::Error;
use crate::http::{Body, Plane, api, typed};
use crate::limits;
use crate::reactor::Command;
use crate::reactor::asked::{Closed, Goodbye};
use crate::reload::{self, Outcome};
use crate::session::end::CLOSE_POLICY;
use crate::stats::SessionId;

/// Codes that a server may close with (RFC 6455 section 7.4), and those of applications.
const CODES: &str = "1000, 1001, 1008, 1011, 1012, 1013 or 3000 to 4999";
/// Bytes of a close frame's reason (RFC 6455 section 5.5).
const REASON_BYTES: usize = 123;

/// Does it.
///
/// # Errors
/// What is wrong with the request.
pub(super) async fn act(
    plane: &Plane,
    door: &Door,
    act: Act,
    request: Request<Incoming>,
    who: &str,
) -> Result<Response<Body>, Error> {
    match act {
        Act::Connections => {
            let shown = api::connections(plane, request.uri().query()).await;
            let query = request.uri().query().map(cut);
            tracing::info!(target: "audit", who, query, "operator looked at connections");
            Ok(shown)
        }
        Act::Close(id) => {
            let goodbye = goodbye(&body(plane, request).await?)?;
            close(plane, id, goodbye, who).await
        }
        Act::Drain => {
            nothing(&body(plane, request).await?)?;
            tracing::info!(target: "audit", who, "operator drains the server");
            door.drain.notify_one();
            Ok(answer(StatusCode::ACCEPTED, &json!({"draining": true})))
        }
        Act::Cordon(on) => {
            nothing(&body(plane, request).await?)?;
            door.cordoned.store(on, Ordering::Relaxed);
            tracing::info!(target: "audit", who, cordoned = on, "operator set the cordon");
            Ok(answer(StatusCode::OK, &json!({"cordoned": on})))
        }
        Act::ShowLevel => {
            tracing::info!(target: "audit", who, "operator looked at the log level");
            Ok(answer(StatusCode::OK, &json!({"level": door.filter.get()})))
        }
        Act::SetLevel => {
            let Level { level } = read(&body(plane, request).await?)?;
            // Before: it may be what ends such lines.
            tracing::info!(target: "audit", who, level = cut(&level), "operator sets the log level");
            door.filter.set(&level).map_err(|why| {
                Error::bad("bad_value", format!("bad value {:?} for `level`: {why}", cut(&level)))
            })?;
            Ok(answer(StatusCode::OK, &json!({"level": door.filter.get()})))
        }
        Act::Reload => {
            nothing(&body(plane, request).await?)?;
            tracing::info!(target: "audit", who, "operator has files read again");
            Ok(reload(plane, door))
        }
    }
}

pub(super) fn no_such(id: &str) -> Error {
    let why = format!("no connection {:?}, expected an id of /v1/admin/connections", cut(id));
    Error::new(StatusCode::NOT_FOUND, "not_found", why)
}

fn answer(status: StatusCode, value: &Value) -> Response<Body> {
    typed(status, "application/json", value.to_string())
}

/// Reads a request's body, which is short.
async fn body(plane: &Plane, request: Request<Incoming>) -> Result<Vec<u8>, Error> {
    let body = Limited::new(request.into_body(), limits::ADMIN_BODY_BYTES).collect();
    match tokio::time::timeout(plane.handshake_timeout, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let why = format!("the body is over {} bytes", limits::ADMIN_BODY_BYTES);
            Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", why))
        }
        Ok(Err(_)) => Err(Error::bad("bad_body", "the body broke off".to_owned())),
        Err(_) => {
            let why = "the body did not come in time".to_owned();
            Err(Error::new(StatusCode::REQUEST_TIMEOUT, "timeout", why))
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Error::bad("bad_body", format!("the body: {error}")))
}

/// What is asked for needs no words; an empty object is none.
fn nothing(body: &[u8]) -> Result<(), Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    if body.trim_ascii().is_empty() { Ok(()) } else { read::<Nothing>(body).map(|_| ()) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    code: Option<u16>,
    reason: Option<String>,
}

fn goodbye(body: &[u8]) -> Result<Goodbye, Error> {
    let Close { code, reason } =
        if body.trim_ascii().is_empty() { Close::default() } else { read(body)? };
    let code = code.unwrap_or(CLOSE_POLICY);
    if !matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999) {
        return Err(Error::bad_value("code", &code.to_string(), CODES));
    }
    let text = reason.unwrap_or_else(|| "closed by an operator".to_owned());
    if text.len() > REASON_BYTES {
        let expected = format!("at most {REASON_BYTES} bytes");
        return Err(Error::bad_value("reason", &text, &expected));
    }
    Ok(Goodbye { code, text })
}

async fn close(
    plane: &Plane,
    id: SessionId,
    goodbye: Goodbye,
    who: &str,
) -> Result<Response<Body>, Error> {
    let unknown = || no_such(&id.to_string());
    let link = plane.links().find(|link| link.id == id.reactor).ok_or_else(unknown)?;
    let (code, reason) = (goodbye.code, goodbye.text.clone());
    let (ask, closed) = oneshot::channel();
    link.send(Command::Close(id, goodbye, ask));
    match tokio::time::timeout(api::REACTOR_PATIENCE, closed).await {
        Ok(Ok(Closed::Closing(info))) => {
            tracing::info!(
                target: "audit", who, connection = %id, of = %info.peer, name = info.name, code, reason,
                "operator closes a connection"
            );
            Ok(answer(StatusCode::OK, &json!({"closing": api::connection(&info)})))
        }
        Ok(Ok(Closed::Ends(reason))) => {
            let why = format!("{id} is being closed already: {}", reason.as_str());
            Err(Error::new(StatusCode::CONFLICT, "closing", why))
        }
        Ok(Ok(Closed::Unknown)) => Err(unknown()),
        _ => {
            let why = format!("reactor {} does not answer", link.id);
            Err(Error::new(StatusCode::SERVICE_UNAVAILABLE, "stuck", why))
        }
    }
}

/// Reads everything again that SIGHUP does, and says what became of it.
fn reload(plane: &Plane, door: &Door) -> Response<Body> {
    let outcomes = [
        ("certificates", reload::certificates(plane.certificates.as_deref(), true)),
        ("access", reload::access(&plane.live.hub.access, true)),
        ("admin_token", door.reload()),
    ];
    let refused = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Refused(_)));
    let shown: serde_json::Map<String, Value> = outcomes
        .into_iter()
        .map(|(what, outcome)| {
            let shown = match outcome {
                Outcome::None => Value::Null,
                Outcome::Same | Outcome::Read => json!({"read": true}),
                Outcome::Refused(error) => json!({"read": false, "error": error}),
            };
            (what.to_owned(), shown)
        })
        .collect();
    let status = if refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    answer(status, &Value::Object(shown))
}

impl Door {
    /// Reads the token's file again.
    pub(crate) fn reload(&self) -> Outcome {
        let path = self.token_file.display().to_string();
        match Secret::read(&path) {
            Ok(secret) => {
                *self.secret.write() = secret;
                Outcome::Read
            }
            Err(why) => {
                let error = format!("{path}: {why}");
                tracing::error!(error, "the operators' token stays as it is");
                Outcome::Refused(error)
            }
        }
    }
}
