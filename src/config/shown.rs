//! A configuration as it is shown: what counts, and where it came from.

use std::fmt::Write as _;

use super::units::{Bytes, Span};
use super::{Loaded, doors};
use crate::cli::{self, Given, Origin};

impl Loaded {
    /// The effective configuration as a file that `--config` takes, each value with its origin.
    pub fn to_toml(&self) -> String {
        let config = &self.config;
        let quoted = |text: String| toml::Value::String(text).to_string();
        let name_of = |names: &[&str], at: usize| quoted(names[at].to_owned());
        let level = cli::LOG_LEVEL
            .iter()
            .position(|name| name.eq_ignore_ascii_case(config.log_level.as_str()));
        let feeds: Vec<String> = config.feeds.iter().map(|feed| quoted(feed.to_string())).collect();
        let listed = |texts: &[String]| match texts {
            [] => String::new(),
            texts => toml::Value::from(texts.to_vec()).to_string(),
        };
        let [chains, keys] = config.doors.files();
        let admin = config.admin.as_ref();
        let values = [
            ("listen", quoted(config.doors.listen())),
            ("listen-tls", config.doors.tls.map_or(String::new(), |at| quoted(at.to_string()))),
            (
                "listen-unix",
                config
                    .doors
                    .unix
                    .as_deref()
                    .map_or(String::new(), |path| quoted(doors::text(path))),
            ),
            ("tls-cert", listed(&chains)),
            ("tls-key", listed(&keys)),
            ("tls-self-signed", config.doors.is_self_signed().to_string()),
            ("handshake-timeout", quoted(Span(config.handshake_timeout).to_string())),
            ("ping-interval", quoted(Span(config.ping_interval).to_string())),
            ("ping-timeout", quoted(Span(config.ping_timeout).to_string())),
            ("trusted-proxy", listed(&config.proxies.trusted())),
            ("proxy-protocol", config.proxies.protocol.to_string()),
            ("cors-origin", listed(&config.cors_origins)),
            ("compress", config.compress.to_string()),
            ("echo", config.echo.to_string()),
            (
                "access",
                config.access.as_deref().map_or(String::new(), |path| quoted(doors::text(path))),
            ),
            ("feed", format!("[{}]", feeds.join(", "))),
            ("publish-token-file", config.publish_token_file.clone().map_or(String::new(), quoted)),
            (
                "record",
                config
                    .record
                    .directory
                    .as_ref()
                    .map_or(String::new(), |directory| quoted(directory.display().to_string())),
            ),
            ("record-file-bytes", quoted(Bytes(config.record.file_bytes).to_string())),
            ("record-file-age", quoted(Span(config.record.file_age).to_string())),
            (
                "spool-dir",
                config
                    .spool
                    .directory
                    .as_deref()
                    .map_or(String::new(), |path| quoted(doors::text(path))),
            ),
            ("spool-bytes", quoted(Bytes(config.spool.bytes).to_string())),
            ("reactors", config.reactors.to_string()),
            ("pin", name_of(cli::PIN, config.pin as usize)),
            ("ring-slots", config.ring_slots.to_string()),
            ("max-clients", config.max_clients.to_string()),
            ("max-handshakes", config.max_handshakes.to_string()),
            ("max-clients-per-address", config.addresses.clients.to_string()),
            ("max-handshakes-per-address", config.addresses.handshakes.to_string()),
            ("connect-rate", config.addresses.connect_rate.to_string()),
            ("http-rate", config.addresses.http_rate.to_string()),
            ("exempt-address", listed(&config.addresses.exempt())),
            ("max-subscriptions", config.max_subscriptions.to_string()),
            ("request-rate", config.request_rate.to_string()),
            ("history", config.history.to_string()),
            ("max-message-bytes", quoted(Bytes(config.max_message_bytes).to_string())),
            ("outbox-bytes", quoted(Bytes(config.outbox_bytes).to_string())),
            ("memory-budget", quoted(Bytes(config.memory_budget).to_string())),
            ("slow-consumer", name_of(cli::SLOW_CONSUMER, config.slow_consumer as usize)),
            ("max-age-ms", config.max_age.as_millis().to_string()),
            ("slow-grace", quoted(Span(config.slow_grace).to_string())),
            ("drain-deadline", quoted(Span(config.drain_deadline).to_string())),
            ("drain-spread", quoted(config.drain_spread.to_string())),
            ("admin-listen", admin.map_or(String::new(), |admin| quoted(admin.at.to_string()))),
            (
                "admin-token-file",
                admin.map_or(String::new(), |admin| quoted(doors::text(&admin.token_file))),
            ),
            ("log-level", name_of(cli::LOG_LEVEL, level.unwrap_or(0))),
            ("log-format", name_of(cli::LOG_FORMAT, config.log_format as usize)),
            ("trace-sample", config.traced.sample.to_string()),
            (
                "otlp-endpoint",
                config.traced.collector.as_ref().map_or(String::new(), |at| quoted(at.to_string())),
            ),
        ];
        let mut text = String::new();
        for (name, value) in values {
            // What nobody gave and has no default stands there as a comment.
            let comment = if value.is_empty() { "# " } else { "" };
            let line = format!("{comment}{name} = {value}");
            let cores = if name == "pin" { self.cores() } else { String::new() };
            let _ = writeln!(text, "{line:<40} # {}{cores}", self.origin(name)); // cannot fail
        }
        text
    }

    /// What becomes of `--pin` on this machine.
    fn cores(&self) -> String {
        match self.config.cores.as_slice() {
            [] => "; not bound to cores".to_owned(),
            cores => format!("; on cores {cores:?}"),
        }
    }

    fn origin(&self, name: &str) -> String {
        match self.origins.get(name) {
            Some(Given { origin: Origin::Flag, .. }) => format!("--{name}"),
            Some(Given { origin: Origin::Env, .. }) => cli::variable(name),
            Some(Given { origin: Origin::File { path, line }, .. }) => {
                format!("{}:{line}", path.escape_debug())
            }
            Some(Given { origin: Origin::Default, .. }) => "default".to_owned(),
            None if name == "publish-token-file" && self.config.publish_token.is_some() => {
                format!("the token itself is in {}", cli::TOKEN_VARIABLE)
            }
            None if name == "publish-token-file" => "not given".to_owned(),
            None if matches!(
                name,
                "record"
                    | "spool-dir"
                    | "access"
                    | "cors-origin"
                    | "listen-tls"
                    | "listen-unix"
                    | "tls-cert"
                    | "tls-key"
                    | "trusted-proxy"
                    | "admin-listen"
                    | "admin-token-file"
                    | "otlp-endpoint"
            ) =>
            {
                "not given".to_owned()
            }
            None => "from this machine".to_owned(),
        }
    }
}
