//! What is in ops/: alerts, dashboard, unit and configuration fit the server and its documentation.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

mod common;
use common::{Client, Server};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What follows a word at the beginning of a line.
fn after<'t>(text: &'t str, word: &str) -> BTreeSet<&'t str> {
    text.lines().filter_map(|line| Some(line.trim_start().strip_prefix(word)?.trim())).collect()
}

fn alerts(text: &str) -> BTreeSet<&str> {
    let alerts = after(text, "- alert: ");
    assert!(alerts.len() > 10, "{alerts:?}");
    alerts
}

/// All names of our metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let names: BTreeSet<&str> = words.filter(|word| word.starts_with("tickcast_")).collect();
    assert!(!names.is_empty());
    names
}

/// The expressions of the dashboard.
fn expressions(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "expr" || key == "query" => out.push(text.to_owned()),
                    _ => expressions(value, out),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, out)),
        _ => {}
    }
}

/// A server that has every metric there is: with a live feed (of nobody), a recording, a delayed market and a door
/// for publishers.
fn everything(folder: &Path) -> Server {
    let token = folder.join("token");
    fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    let live = "binance:BTCUSDT,url=ws://127.0.0.1:1,rest=http://127.0.0.1:1";
    let [token, record] = [token, folder.join("recordings")].map(|p| p.display().to_string());
    let feeds = ["--feed", "synthetic:symbols=2", "--feed", live];
    let tls = ["--listen-tls", "127.0.0.1:0", "--tls-self-signed"];
    let access = folder.join("access.toml");
    let issuer = "[[issuer]]\nname = \"idp\"\nalgorithms = [\"RS256\"]\niss = \"idp\"\naud = \"tickcast\"\n\
        jwks_url = \"http://127.0.0.1:1/\"\nsymbols = []\n";
    let anonymous = "[anonymous]\nsymbols = [\"*\"]\noperator = true\n";
    // Whoever asks is an operator, and somebody else is delayed.
    let late = format!(
        "[[token]]\nname = \"late\"\nsha256 = \"{}\"\nsymbols = []\ndelay = \"1s\"",
        "0".repeat(64)
    );
    fs::write(&access, anonymous.to_owned() + issuer + &late).unwrap();
    let access = access.display().to_string();
    let admin = folder.join("admin");
    fs::write(&admin, "sha256:".to_owned() + &"0".repeat(64)).unwrap();
    let admin = admin.display().to_string();
    let door = ["--admin-listen", "127.0.0.1:0", "--admin-token-file", &admin];
    let proxies = ["--proxy-protocol", "--trusted-proxy", "203.0.113.1"];
    let traced = ["--trace-sample", "1000"];
    let spool = folder.join("spool").display().to_string();
    let delayed = ["--access", &access, "--spool-dir", &spool];
    let rest = ["--publish-token-file", &token, "--record", &record];
    Server::start(&[&feeds[..], &tls, &proxies, &door, &traced, &delayed, &rest].concat())
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let (status, text) = everything(folder.path()).get("/metrics");
    assert_eq!(status, 200);
    let families: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let dashboard: Value = serde_json::from_str(&read("ops/grafana.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 20);
    asked.push(read("ops/alerts.yml"));
    for text in &asked {
        for name in text.contains("tickcast_").then(|| metrics(text)).into_iter().flatten() {
            let family = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(families.contains(family), "{name}: the server has no such metric");
        }
    }
    // Of what waits on disk for delayed markets an operator sees everything but the number of its files.
    let seen = asked.join("\n");
    let of_delay =
        |name: &&&str| name.starts_with("tickcast_spool_") || name.starts_with("tickcast_delayed_");
    let unseen = families.iter().filter(of_delay).filter(|name| !metrics(&seen).contains(**name));
    assert_eq!(unseen.collect::<Vec<_>>(), [&"tickcast_spool_segments"]);
    // And what is told of a metric is told of one that there is, and of every one.
    let operating = read("docs/OPERATING.md");
    let told = metrics(&operating);
    for name in told.iter().filter(|name| !name.ends_with('_')) {
        assert!(families.contains(name), "docs/OPERATING.md: {name}");
    }
    for name in &families {
        assert!(told.contains(name), "docs/OPERATING.md does not tell of {name}");
    }
}

/// A Prometheus that scrapes a server each second and takes native histograms, of a port of its own.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    fn start(program: &Path, folder: &Path, server: &Server) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: tickcast, static_configs: [{{targets: ['{}']}}]}}]\n",
            server.address
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(folder.join("prometheus.log")).unwrap();
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--enable-feature=native-histograms")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Prometheus { child, port }
    }

    /// What a query has as its one value; `None` while it has none.
    fn value(&self, query: &str) -> Option<f64> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        // HTTP/1.0: the answer comes in one piece.
        let line = format!("GET /api/v1/query?query={query} HTTP/1.0\r\n\r\n");
        let (status, _, body) = common::exchange(stream, &line);
        let body: Value = serde_json::from_str(&body).ok()?;
        assert_eq!(status, 200, "{body}");
        let result = body["data"]["result"].as_array()?;
        assert!(result.len() <= 1, "{body}");
        result.first()?["value"][1].as_str()?.parse().ok()
    }

    fn wait(&mut self, query: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let until = Instant::now() + common::PATIENCE;
        loop {
            let value = self.value(query);
            if let Some(value) = value.filter(|value| wanted(*value)) {
                return value;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended");
            assert!(Instant::now() < until, "{query} stays at {value:?}");
            common::pause();
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_takes_native_histograms_and_the_same_numbers() {
    let Some(program) = common::tool("prometheus") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = everything(folder.path());
    let mut client = Client::native(&server);
    client.subscribe("trade", &["*"]);
    client.until(|message| message["channel"] == "trade");
    let reader =
        std::thread::spawn(move || while client.stream.read(&mut [0; 4096]).unwrap_or(0) > 0 {});
    let mut prometheus = Prometheus::start(&program, folder.path(), &server);
    for stage in ["ring", "encoded", "write"] {
        let name = format!("tickcast_recv_to_{stage}_seconds");
        // Native ones have no series of buckets; a rate needs two scrapes.
        prometheus.wait(&format!("histogram_count(sum(rate({name}[10s])))"), |rate| rate > 0.0);
        assert_eq!(prometheus.value(&format!("count({name}_bucket)")), None);
        let median =
            prometheus.wait(&format!("histogram_quantile(0.5, sum({name}))"), f64::is_finite);
        assert!(0.0 < median && median < 60.0, "{median}");
    }
    // Counters and gauges, with labels: as text has them.
    prometheus.wait("sum(tickcast_sessions)", |sessions| sessions == 1.0);
    let expected = server.metric("tickcast_requests_total", "");
    prometheus.wait("sum(tickcast_requests_total)", |value| value >= expected);
    // All of them, and no other.
    let (_, text) = server.get("/metrics");
    let is_sample = |line: &&str| match line.split(['{', ' ']).next() {
        Some(name) if name.starts_with("tickcast_recv_to_") => name.ends_with("_count"),
        Some(name) => name != "#",
        None => false,
    };
    let samples = text.lines().filter(is_sample).count() as f64;
    let all = r#"count({__name__=~"tickcast_.*"})"#;
    prometheus.wait(all, |count| count == samples);
    drop(server);
    reader.join().unwrap();
}

#[test]
fn each_panel_of_the_dashboard_has_its_own_place() {
    let dashboard: Value = serde_json::from_str(&read("ops/grafana.json")).unwrap();
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{title}");
        let at = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{title}");
        for (x, y) in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
            assert!(taken.insert((at("x") + x, at("y") + y)), "{title} covers another");
        }
    }
    assert!(ids.len() > 20);
}

#[test]
fn metrics_are_named_by_the_conventions() {
    let Some(promtool) = common::tool("promtool") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_, text) = everything(folder.path()).get("/metrics");
    let check = |text: &str| {
        let mut command = Command::new(&promtool);
        command.args(["check", "metrics"]);
        let pipes = [Stdio::piped(), Stdio::piped(), Stdio::piped()];
        let [input, output, errors] = pipes;
        let mut child = command.stdin(input).stdout(output).stderr(errors).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = check(&text);
    let silent = output.stdout.is_empty() && output.stderr.is_empty();
    assert!(output.status.success() && silent, "{output:?}");
    // It looks: a counter without its ending is found.
    let output = check(&text.replace("tickcast_ticks_total", "tickcast_ticks"));
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn each_alert_has_an_entry_in_the_runbook_and_cases() {
    let (rules, cases, operating) =
        (read("ops/alerts.yml"), read("ops/alerts_test.yml"), read("docs/OPERATING.md"));
    let alerts = alerts(&rules);
    let (_, runbook) = operating.split_once("\n## Runbook\n").expect("a runbook");
    let runbook = runbook.split("\n## ").next().unwrap();
    assert_eq!(after(runbook, "### "), alerts);
    assert_eq!(after(&cases, "- name: "), alerts);
    for alert in &alerts {
        let entry = runbook.split(&format!("### {alert}\n\n")).nth(1).expect("an entry");
        let severity = if entry.starts_with("page. ") { "page" } else { "ticket" };
        assert!(entry.starts_with(&format!("{severity}. ")), "{alert}");
        let rule = rules.split(&format!("- alert: {alert}\n")).nth(1).expect("a rule");
        let rule = rule.split("- alert: ").next().unwrap();
        assert!(rule.contains(&format!("{{severity: {severity}}}")), "{alert}: {severity}");
        // One case in which it keeps quiet, one in which it does not.
        assert!(cases.contains(&format!("- {{alertname: {alert}, eval_time: ")), "{alert}");
        assert!(cases.contains(&format!("- alertname: {alert}\n")), "{alert}");
    }
    // Entries name each other.
    for word in operating.split(|c: char| !c.is_ascii_alphanumeric()) {
        let is_alert = word.len() > "Tickcast".len() && word.starts_with("Tickcast");
        assert!(!is_alert || alerts.contains(word), "{word} is no alert");
    }
}

#[test]
fn alerts_do_what_their_cases_say() {
    let Some(promtool) = common::tool("promtool") else { return };
    for what in [&["check", "rules", "alerts.yml"], &["test", "rules", "alerts_test.yml"]] {
        let output =
            Command::new(&promtool).args(what).current_dir(root().join("ops")).output().unwrap();
        assert!(output.status.success(), "{what:?}: {output:?}");
    }
}

#[test]
fn the_configuration_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let check = |text: &str| {
        let file = folder.path().join("tickcast.toml");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
        let output = command.args(["check-config", "--config"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = read("ops/tickcast.toml");
    assert!(check(&text).contains("0.0.0.0:7070"));
    // And with what is commented out in place of what it would take the place of.
    let other = text.replace("\nfeed = ", "\n# was = ").replace("\n# feed = ", "\nfeed = ");
    let other = other.replace("\n# record = ", "\nrecord = ");
    let shown = check(&other);
    assert!(shown.contains("binance:BTCUSDT") && shown.contains("/var/lib/tickcast"), "{shown}");
    for user in ["ops/tickcast.service", "ops/Dockerfile"] {
        assert!(read(user).contains("/etc/tickcast/tickcast.toml"), "{user}");
    }
}

/// `systemd-analyze security` rates what a service may do from 0 (nothing) to 10.
#[test]
fn the_service_may_do_little() {
    let unit = root().join("ops/tickcast.service");
    let run = |args: &[&str]| Command::new("systemd-analyze").args(args).arg(&unit).output();
    let Ok(output) = run(&["security", "--offline=true", "--threshold=20"]) else {
        eprintln!("SKIPPED: no systemd-analyze");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("Overall exposure level"), "{output:?}");
}
