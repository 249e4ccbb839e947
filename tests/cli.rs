//! The program as its users call it: exit codes, the one line on stderr, what beats what.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The program without any `TICKCAST_` variable of whoever runs the tests.
fn tickcast(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickcast"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TICKCAST_") {
            command.env_remove(name);
        }
    }
    command.args(args).envs(variables.iter().copied()).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8 on stdout")
}

/// The one line of a usage error.
fn refusal(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8 on stderr");
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty(), "stdout is for what scripts read");
    assert_eq!(text.lines().count(), 1, "not one line: {text:?}");
    assert!(text.starts_with("error: ") && text.ends_with('\n'), "{text:?}");
    text
}

/// The effective value of a setting and its origin, as `check-config` prints them.
fn effective(output: &Output, name: &str) -> (String, String) {
    assert!(output.status.success(), "{output:?}");
    let text = stdout(output);
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
    let (value, origin) = line.and_then(|line| line.rsplit_once(" # ")).expect("value # origin");
    (value.trim().to_owned(), origin.to_owned())
}

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
        fs::create_dir_all(&path).expect("a folder under target/tmp");
        Folder(path)
    }

    fn file(&self, text: &str) -> String {
        let path = self.0.join("tickcast.toml");
        fs::write(&path, text).expect("a file of our own");
        path.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Flag, wrong value, what the advice says.
const WRONG: &[(&str, &str, &str)] = &[
    ("--listen", "7070", "127.0.0.1:7070"),
    ("--listen", "example.com:80", "127.0.0.1:7070"),
    ("--listen", "127.0.0.1:65536", "127.0.0.1:7070"),
    ("--reactors", "0", "whole number from 1 to 256"),
    ("--reactors", "257", "whole number from 1 to 256"),
    ("--reactors", "two", "whole number from 1 to 256"),
    ("--reactors", "-1", "whole number from 1 to 256"),
    ("--pin", "maybe", "one of true, false, auto"),
    ("--ring-slots", "1000", "power of two from 1024 to 16777216"),
    ("--ring-slots", "1025", "such as 1024 or 2048"),
    ("--ring-slots", "33554432", "power of two from 1024 to 16777216"),
    ("--outbox-bytes", "1MB", "write 1MiB"),
    ("--outbox-bytes", "1KiB", "size from 128KiB to 1GiB"),
    ("--outbox-bytes", "lots", "such as 65536, 512KiB"),
    ("--slow-consumer", "drop", "one of disconnect, conflate"),
    ("--slow-grace", "5", "write 5s or 5ms"),
    ("--slow-grace", "11m", "duration from 0s to 10m"),
    ("--max-clients", "0", "whole number from 1 to "),
    ("--max-clients", "9999999999", "this process may open "),
    ("--max-handshakes", "9999999999", "this process may open "),
    ("--max-subscriptions", "0", "whole number from 1 to 1048576"),
    ("--request-rate", "0", "whole number from 1 to 1000000"),
    ("--max-message-bytes", "100", "size from 1KiB to 16MiB"),
    ("--handshake-timeout", "0s", "duration from 100ms to 5m"),
    ("--ping-interval", "2d", "such as 500ms, 5s"),
    ("--ping-timeout", "2h", "duration from 100ms to 1h"),
    ("--drain-deadline", "1ms", "duration from 100ms to 10m"),
    ("--drain-spread", "8s", "two durations such as 500ms..8s"),
    ("--drain-spread", "8s..1s", "write 1s..8s"),
    ("--drain-spread", "1s..1h", "ends at 10m or before"),
    ("--feed", "nasdaq:", "synthetic"),
    ("--record", "rec", "no --feed is a venue"),
    ("--record-file-bytes", "1KiB", "size from 1MiB to 16GiB"),
    ("--record-file-age", "1s", "duration from 10s to 168h"),
    ("--log-level", "verbose", "one of error, warn, info, debug, trace"),
    ("--log-format", "xml", "one of text, json"),
];

#[test]
fn a_wrong_value_is_one_line_that_names_it_and_what_would_do() {
    for (flag, value, advice) in WRONG {
        let line = refusal(&tickcast(&[flag, value], &[]));
        for word in [flag, value, advice] {
            assert!(line.contains(word), "{flag} {value}: no {word:?} in {line:?}");
        }
    }
}

#[test]
fn an_empty_value_is_wrong_for_every_setting() {
    for name in tickcast::cli::setting_names() {
        let line = refusal(&tickcast(&[&format!("--{name}=")], &[]));
        assert!(line.contains(&format!("--{name}")), "{line}");
        let variable = tickcast::cli::variable(&name);
        let line = refusal(&tickcast(&[], &[(&variable, "")]));
        assert!(line.contains(&format!("{variable} \"\": ")), "{line}");
    }
}

#[test]
fn a_wrong_variable_or_line_of_the_file_is_named_as_such() {
    let line = refusal(&tickcast(&[], &[("TICKCAST_RING_SLOTS", "1000")]));
    assert!(line.contains("TICKCAST_RING_SLOTS \"1000\": expected a power of two"), "{line}");

    let folder = Folder::new("wrong");
    let path = folder.file("# tickcast\nring-slots = 1000\n");
    let line = refusal(&tickcast(&["--config", &path], &[]));
    let expected = format!("{path}:2: ring-slots \"1000\": expected a power of two");
    assert!(line.contains(&expected), "{line}");

    let path = folder.file("\n\nring-slot = 1024\n");
    let line = refusal(&tickcast(&["--config", &path], &[]));
    assert!(line.contains(&format!("{path}:3: unknown key")), "{line}");
    assert!(line.contains("did you mean ring-slots?"), "{line}");

    let line = refusal(&tickcast(&["--config", "/nonexistent.toml"], &[]));
    assert!(line.contains("--config \"/nonexistent.toml\": cannot read"), "{line}");
    let line = refusal(&tickcast(&[], &[("TICKCAST_CONFIG", "/nonexistent.toml")]));
    assert!(line.contains("TICKCAST_CONFIG \"/nonexistent.toml\": cannot read"), "{line}");
}

#[test]
fn a_command_line_that_is_not_understood_is_one_line() {
    for (args, words) in [
        (&["--listn", "x"][..], &["--listn", "did you mean --listen?"][..]),
        (&["serve", "--ringslots=4"], &["--ringslots", "did you mean --ring-slots?"]),
        (&["--frobnicate"], &["--frobnicate", "--help"]),
        (&["serv"], &["\"serv\"", "did you mean serve?"]),
        (&["--listen"], &["--listen", "no value", "ADDRESS:PORT"]),
        (&["--pin", "true", "--pin", "false"], &["--pin", "only once"]),
        (&["completions", "tcsh"], &["\"tcsh\"", "bash", "zsh", "fish"]),
        (&["completions"], &["SHELL"]),
        (&["man", "nothing"], &["\"nothing\"", "serve", "watch"]),
        (&["check-config", "extra\nline"], &["extra"]),
    ] {
        let line = refusal(&tickcast(args, &[]));
        for word in words {
            assert!(line.contains(word), "{args:?}: no {word:?} in {line:?}");
        }
    }
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let folder = Folder::new("precedence");
    let path =
        folder.file("ring_slots = 4096\nslow-grace = \"1s\"\nfeed = [\"synthetic:seed=1\"]\n");
    let variable = ("TICKCAST_RING_SLOTS", "8192");
    let check = |args: &[&str], variables: &[(&str, &str)]| {
        effective(&tickcast(&[&["check-config"], args].concat(), variables), "ring-slots")
    };
    let is = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    let file = ["--config", &path];
    let all = ["--config", &path, "--ring-slots", "16384"];

    assert_eq!(check(&[], &[]), is("65536", "default"));
    assert_eq!(check(&file, &[]), is("4096", &format!("{path}:1")));
    assert_eq!(check(&file, &[variable]), is("8192", "TICKCAST_RING_SLOTS"));
    assert_eq!(check(&all, &[variable]), is("16384", "--ring-slots"));
    assert_eq!(check(&[], &[("TICKCAST_CONFIG", &path)]), is("4096", &format!("{path}:1")));
    // A flag that repeats the default was given all the same.
    let default = ["--config", &path, "--ring-slots", "65536"];
    assert_eq!(check(&default, &[variable]), is("65536", "--ring-slots"));
}

#[test]
fn lists_replace_each_other_whole() {
    let folder = Folder::new("lists");
    let path = folder.file("feed = [\"synthetic:seed=1\", \"synthetic:seed=2\"]\n");
    let feeds = |args: &[&str], variables: &[(&str, &str)]| {
        let all = effective(&tickcast(&[&["check-config"], args].concat(), variables), "feed").0;
        // The effective feeds are shown in full; what tells them apart is the seed.
        let seed = |feed: &str| feed.split_once("seed=").map(|(_, seed)| seed[..1].to_owned());
        all.split(", ").filter_map(seed).collect::<Vec<_>>()
    };
    let variable = ("TICKCAST_FEED", "synthetic:seed=3; synthetic:seed=4");
    let file = ["--config", &path];
    let all = ["--config", &path, "--feed", "synthetic:seed=5"];
    assert_eq!(feeds(&file, &[]), ["1", "2"]);
    assert_eq!(feeds(&file, &[variable]), ["3", "4"]);
    assert_eq!(feeds(&all, &[variable]), ["5"]);
}

/// `check-config` under a shell's limits of open files.
fn with_limits(limits: &str) -> Output {
    let script = format!("{limits} && exec \"$0\" check-config");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_tickcast")]);
    command.env_remove("TICKCAST_MAX_CLIENTS").env_remove("TICKCAST_MAX_HANDSHAKES");
    command.output().expect("a shell")
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    // 1,024 files: 256 in reserve, an eighth for handshakes.
    for limits in ["ulimit -n 1024", "ulimit -Sn 600 && ulimit -Hn 1024"] {
        let output = with_limits(limits);
        assert_eq!(effective(&output, "max-handshakes").0, "128", "{limits}");
        assert_eq!(effective(&output, "max-clients").0, "640", "{limits}");
    }
    let line = refusal(&with_limits("ulimit -n 400"));
    assert!(line.contains("400 files") && line.contains("ulimit -n"), "{line}");
}

#[test]
fn record_wants_venues_and_a_directory() {
    let line = refusal(&tickcast(&["record", "rec"], &[]));
    assert!(line.contains("--feed"), "{line}");
    let line = refusal(&tickcast(&["record", "--feed", "synthetic:"], &[]));
    assert!(line.contains("DIR"), "{line}");
    let line = refusal(&tickcast(&["record", "--feed", "synthetic:", "rec"], &[]));
    assert!(line.contains("--record \"rec\": no --feed is a venue"), "{line}");
    let flags = ["record", "--feed", "synthetic:", "--record-file-age", "x", "rec"];
    let line = refusal(&tickcast(&flags, &[]));
    assert!(line.contains("no --feed is a venue"), "{line}");
}

#[test]
fn inspect_prints_a_table_or_json() {
    let folder = Folder::new("inspect");
    let trade = r#"{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"1","T":1723161253000,"m":true}"#;
    let file = folder.file(&format!("1723161253000000000 {trade}\n"));
    let output = tickcast(&["inspect", &file], &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(stdout(&output).contains("binance:BTC-USDT"), "{}", stdout(&output));
    let output = tickcast(&["inspect", "--json", &file], &[]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["feeds"][0]["symbols"][0]["trades"], 1);
    let output = tickcast(&["inspect", "/nonexistent"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(line.starts_with("error: cannot open capture `/nonexistent`"), "{line}");
}

#[test]
fn completions_know_the_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let output = tickcast(&["completions", shell], &[]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let script = stdout(&output);
        for word in ["tickcast", "slow-consumer", "conflate", "check-config"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
}

/// What bash would complete the last word to.
fn completed(words: &[&str]) -> String {
    let script = stdout(&tickcast(&["completions", "bash"], &[]));
    let [.., before, last] = words else { panic!("two words at least") };
    let line = words.join(" ");
    let at = words.len() - 1;
    let asked = format!(
        "{script}\nCOMP_WORDS=({line}); COMP_CWORD={at}; _tickcast tickcast '{last}' '{before}'; echo \"${{COMPREPLY[*]}}\""
    );
    let output = std::process::Command::new("bash").args(["-c", &asked]).output().expect("bash");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    stdout(&output).trim_end().to_owned()
}

#[test]
fn bash_completes_flags_values_and_commands() {
    assert_eq!(completed(&["tickcast", "--slow-con"]), "--slow-consumer");
    assert_eq!(completed(&["tickcast", "serve", "--slow-consumer", "c"]), "conflate");
    assert_eq!(completed(&["tickcast", "check-c"]), "check-config");
    assert_eq!(completed(&["tickcast", "completions", "z"]), "zsh");
}

#[test]
fn manual_pages_have_every_flag_of_the_help() {
    for command in
        [None, Some("serve"), Some("check-config"), Some("watch"), Some("record"), Some("inspect")]
    {
        let output = tickcast(&["man"].into_iter().chain(command).collect::<Vec<_>>(), &[]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        // A hyphen that is one is written `\-`.
        let page = stdout(&output).replace(r"\-", "-");
        let title = command.map_or("tickcast".to_owned(), |command| format!("tickcast-{command}"));
        assert!(page.contains(&format!(".TH {title} 1")), "{page}");
        let help = tickcast(&command.into_iter().chain(["--help"]).collect::<Vec<_>>(), &[]);
        let help = stdout(&help);
        // `      --listen <ADDRESS:PORT>`, `  -h, --help`
        let flags = help.lines().filter_map(|line| {
            let line = line.trim_start().trim_start_matches("-h, ").trim_start_matches("-V, ");
            line.strip_prefix("--")?.split(|c: char| c != '-' && !c.is_ascii_alphanumeric()).next()
        });
        let flags: Vec<&str> = flags.collect();
        assert!(flags.len() > 1, "{help}");
        for flag in flags {
            assert!(page.contains(&format!("--{flag}")), "{title}: no --{flag}");
        }
        // Examples are not joined to paragraphs.
        let example = "\n\\&  tickcast watch 'sim:*'   ";
        assert_eq!(page.contains(example), help.contains("tickcast watch 'sim:*'   "), "{title}");
    }
}

#[test]
fn version_names_the_commit() {
    let output = tickcast(&["--version"], &[]);
    let text = stdout(&output);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let commit = text
        .trim_end()
        .strip_prefix(concat!("tickcast ", env!("CARGO_PKG_VERSION"), " ("))
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or_else(|| panic!("not `tickcast VERSION (COMMIT)`: {text:?}"));
    let git = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short=12", "HEAD"])
        .output();
    match git {
        Ok(git) if git.status.success() => assert_eq!(commit, stdout(&git).trim()),
        _ => assert_eq!(commit, "unknown", "no git, or no repository"),
    }
}

#[test]
fn help_shows_every_setting_under_its_heading() {
    let output = tickcast(&["--help"], &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let help = stdout(&output);
    for name in tickcast::cli::setting_names() {
        let shown = [format!("--{name} "), format!("--{name}[=")];
        assert!(shown.iter().any(|shown| help.contains(shown)), "{name}");
    }
    for heading in [
        "Network",
        "Feeds",
        "Recording",
        "Reactors",
        "Limits",
        "Slow consumers",
        "Shutdown",
        "Logging",
    ] {
        assert!(help.contains(&format!("\n{heading}:\n")), "{heading}");
    }
    assert!(help.contains("Examples:") && help.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn a_token_is_used_and_never_shown() {
    const TOKEN: &str = "s3cret-s3cret-s3cret";
    let folder = Folder::new("token");
    let file = folder.file(TOKEN);
    let variable = [("TICKCAST_PUBLISH_TOKEN", TOKEN)];
    for (args, variables) in [
        (&["--publish-token-file", &file][..], &[][..]),
        (&[], &variable),
        (&["--feed=publish:"], &variable),
    ] {
        let output = tickcast(&[&["check-config"], args].concat(), variables);
        let feeds = effective(&output, "feed").0;
        assert!(feeds.ends_with("\"publish:\"]"), "{feeds}");
        assert!(!stdout(&output).contains(TOKEN));
    }
    let line = refusal(&tickcast(&[], &[("TICKCAST_PUBLISH_TOKEN", "s3cret s3cret s3cret")]));
    assert!(line.contains("TICKCAST_PUBLISH_TOKEN") && !line.contains("s3cret"), "{line}");
    let line = refusal(&tickcast(&["--publish-token-file", &folder.file("short")], &[]));
    assert!(line.contains("16 to 512") && !line.contains("short\""), "{line}");
    let line = refusal(&tickcast(&["--feed=publish:"], &[]));
    assert!(line.contains("--publish-token-file FILE"), "{line}");
    let line = refusal(&tickcast(&["--feed=stdin", "--feed=stdin"], &[]));
    assert!(line.contains("one standard input"), "{line}");
    // There is no flag for it, for `ps` shows flags.
    let line = refusal(&tickcast(&[&format!("--publish-token={TOKEN}")], &[]));
    assert!(line.contains("--publish-token"), "{line}");
    let line = refusal(&tickcast(&["--config", &folder.file("publish-token = 'x'")], &[]));
    assert!(line.contains("did you mean publish-token-file?"), "{line}");
}

#[test]
fn what_the_start_reads_is_read_by_check_config_too() {
    let folder = Folder::new("files");
    let path = |name: &str| folder.0.join(name).to_str().expect("UTF-8").to_owned();
    let (late, foreign, none) = (path("late.toml"), path("foreign"), path("none"));
    fs::write(&late, "[anonymous]\nsymbols = [\"*\"]\ndelay = \"1s\"\n").expect("writes");
    fs::create_dir(&foreign).expect("a folder");
    fs::write(path("foreign/letter"), "dear").expect("writes");
    let tls = ["--listen-tls", "127.0.0.1:0", "--tls-cert", &none, "--tls-key", &none];
    for (flags, why) in [
        (&["--access", &none][..], "No such file"),
        (&["--access", &late], "--access: a `delay` is granted, expected --spool-dir DIR"),
        (&tls, "No such file"),
    ] {
        // The start says the same, and that it would be no use to try again.
        for command in ["check-config", "serve"] {
            let output = tickcast(&[&[command, "--listen", "127.0.0.1:0"], flags].concat(), &[]);
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command}: {text}");
            assert!(text.lines().count() == 1 && text.contains(why), "{command}: {text}");
        }
    }
    for (flags, name) in [
        (&["--access", &late][..], "access"),
        (&["--feed", "binance:BTCUSDT", "--record", &foreign], "recording"),
        (&["--access", &late, "--spool-dir", &late], "spool"),
        (&["--listen", "192.0.2.1:7070"], "listen"),
    ] {
        let output = tickcast(&[&["check", "--json"], flags].concat(), &[]);
        let report: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        let checks = report["checks"].as_array().expect("a list");
        let found = checks.iter().find(|check| check["name"] == name).expect(name);
        assert_eq!(found["verdict"], "change", "{found}");
    }
}

#[test]
fn check_judges_the_machine_and_says_so_by_its_exit_code() {
    let folder = Folder::new("check");
    let file = folder.file("max-clients = 100\nmax-handshakes = 10\noutbox-bytes = \"128KiB\"\n");
    let report = |args: &[&str]| {
        let output = tickcast(&[&["check", "--config", &file], args].concat(), &[]);
        assert!(output.stderr.is_empty(), "{output:?}");
        (output.status.code(), stdout(&output))
    };
    let (code, text) = report(&[]);
    assert!(text.lines().any(|line| line.starts_with("ok        cores")), "{text}");
    assert_eq!(code == Some(0), text.ends_with("nothing must change\n"), "{code:?} {text}");
    let (_, text) = report(&["--json"]);
    let before: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    // Something that must change on any machine.
    let bad = folder.0.join("access.toml");
    fs::write(&bad, "[anonymous]\n").expect("writes");
    let bad = bad.to_str().expect("UTF-8");
    let (code, text) = report(&["--access", bad, "--json"]);
    let after: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(code, Some(1));
    let changes = |report: &serde_json::Value| report["changes"].as_u64().expect("a number");
    assert_eq!(changes(&after), changes(&before) + 1, "{after}");
    let checks = after["checks"].as_array().expect("a list");
    let access = checks.iter().find(|check| check["name"] == "access").expect("a check");
    assert_eq!(access["verdict"], "change", "{access}");
    assert!(access["fix"][0].as_str().is_some_and(|fix| fix.contains(bad)), "{access}");
    // A configuration that is wrong is told as everywhere.
    let output = tickcast(&["check", "--config", &file, "--ring-slots", "1000"], &[]);
    assert!(refusal(&output).contains("--ring-slots"));
}
