//! Values in, configuration or one line of advice out.

use rustix::thread::CpuSet;

use super::*;
use crate::transport::certificates::Source;

fn specs(texts: &[&str]) -> Vec<FeedSpec> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

const CORES: [usize; 4] = [0, 1, 4, 5];

fn machine(open_files: usize) -> Machine {
    Machine { cores: CORES.to_vec(), parallelism: CORES.len(), open_files, memory: 1 << 30 }
}

/// What a command line gives on a machine of four cores; variables of the environment are the
/// program's tests' matter.
fn from_flags(flags: &[&str], machine: &Machine) -> Result<Loaded, String> {
    let line = ["tickcast"].iter().chain(flags).map(|arg| (*arg).into());
    match cli::parse(line) {
        Ok(cli::Action::Serve(settings)) => load(settings, machine).map_err(|e| e.to_string()),
        other => panic!("not a line of serve: {other:?}"),
    }
}

fn config(flags: &[&str]) -> Config {
    from_flags(flags, &machine(100_000)).unwrap().config
}

fn error(flags: &[&str]) -> String {
    from_flags(flags, &machine(20_000)).unwrap_err()
}

#[test]
fn defaults_are_those_of_the_limits() {
    let config = config(&[]);
    assert_eq!(config.doors.plain, Some("127.0.0.1:7070".parse().expect("an address")));
    assert_eq!((config.doors.tls, &config.doors.certificates[..]), (None, &[][..]));
    assert_eq!(config.reactors, 4);
    assert_eq!(config.cores, CORES);
    assert_eq!(config.ring_slots, limits::RING_SLOTS);
    assert_eq!(config.outbox_bytes, limits::OUTBOX_BYTES);
    assert_eq!(config.max_clients, limits::CLIENTS);
    assert_eq!(config.max_handshakes, limits::HANDSHAKES);
    assert_eq!(config.max_message_bytes, limits::MESSAGE_BYTES);
    assert_eq!(config.history, limits::HISTORY);
    assert_eq!(config.memory_budget, (1 << 30) / limits::BUDGET_SHARE);
    assert!(config.cors_origins.is_empty());
    let addresses = &config.addresses;
    assert_eq!(addresses.clients, limits::CLIENTS_PER_ADDRESS);
    assert_eq!(addresses.handshakes, limits::HANDSHAKES / limits::HANDSHAKES_ADDRESS_SHARE);
    assert_eq!(addresses.connect_rate, limits::CONNECT_RATE);
    assert_eq!(addresses.http_rate, limits::HTTP_RATE);
    assert_eq!(addresses.exempt(), limits::EXEMPT_ADDRESSES);
    assert!(!config.compress && !config.echo);
    assert_eq!(config.request_burst(), 200);
    assert_eq!(config.drain_spread, Spread::from(limits::DRAIN_SPREAD));
    assert_eq!(config.feeds, specs(&["synthetic:"]));
    assert_eq!(config.slow_consumer, SlowConsumer::Disconnect);
    assert_eq!((config.log_level, config.log_format), (Level::INFO, LogFormat::Text));
}

#[test]
fn flags_may_stand_before_or_after_the_command() {
    for flags in [
        &["--ring-slots", "2048", "--pin=false"][..],
        &["serve", "--ring-slots", "2048", "--pin=false"],
        &["--ring-slots", "2048", "serve", "--pin=false"],
        &["--ring-slots", "4096", "--pin=false", "serve", "--ring-slots", "2048"],
    ] {
        let config = config(flags);
        assert_eq!((config.ring_slots, config.pin), (2_048, Pin::Never), "{flags:?}");
    }
}

#[test]
fn auto_pins_when_every_reactor_gets_a_core_of_its_own() {
    let cores = |flags: &[&str], cores: &[usize]| {
        let machine = Machine {
            cores: cores.to_vec(),
            parallelism: cores.len(),
            open_files: 4_096,
            memory: 1 << 30,
        };
        from_flags(flags, &machine).unwrap().config.cores
    };
    assert_eq!(cores(&["--reactors", "2"], &CORES), [0, 1]);
    assert!(cores(&["--reactors", "5"], &CORES).is_empty());
    assert!(cores(&[], &[3]).is_empty());
    assert_eq!(cores(&["--pin", "true"], &[3]), [3]);
    assert!(cores(&["--pin", "false"], &CORES).is_empty());
    let impossible = error(&["--pin", "true", "--reactors", "5"]);
    assert!(impossible.starts_with("--pin \"true\": 5 reactors"), "{impossible}");
    assert!(impossible.contains("--reactors 4 or less"), "{impossible}");
}

#[test]
fn connections_stay_within_the_limit_of_open_files() {
    let loaded = |flags: &[&str], files| from_flags(flags, &machine(files)).map(|l| l.config);
    for files in [512, 1_024, 20_000, 1_000_000, usize::MAX] {
        let config = loaded(&[], files).unwrap();
        let used = config.max_clients + config.max_handshakes + limits::DESCRIPTORS_RESERVED;
        assert!(used <= files && config.max_clients >= 100, "{files}: {config:?}");
    }
    assert_eq!(loaded(&[], 20_000).unwrap().max_clients, 18_720);
    assert_eq!(loaded(&["--max-clients", "18720"], 20_000).unwrap().max_clients, 18_720);
    let many = loaded(&["--max-clients", "18721"], 20_000).unwrap_err();
    assert!(many.contains("1 to 18720") && many.contains("20000 files"), "{many}");
    let few = loaded(&[], 511).unwrap_err();
    assert!(few.contains("511") && few.contains("at least 512") && few.contains("ulimit"), "{few}");
}

#[test]
fn feeds_are_repeatable_and_replace_the_default() {
    let feeds = config(&["--feed", "synthetic:rate=1", "--feed", "replay:a.gz+b.gz"]).feeds;
    assert_eq!(feeds, specs(&["synthetic:rate=1", "replay:a.gz+b.gz"]));
    let many: Vec<&str> = std::iter::repeat_n(["--feed", "synthetic:"], 65).flatten().collect();
    assert!(error(&many).contains("expected 1 to 64 feeds"));
}

#[test]
fn long_and_many_lined_values_are_cut_and_stay_on_one_line() {
    let long = "\u{e9}\n".repeat(1_000);
    let message = error(&["--listen", &long]);
    assert_eq!(message.lines().count(), 1);
    assert!(message.len() < 1_000 && message.contains("...\": expected"), "{message}");
}

#[test]
fn the_effective_configuration_is_a_file_that_gives_it_again() {
    let dir = std::env::temp_dir().join(format!("tickcast-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("effective.toml");
    let flags = [
        "--listen=[::1]:0",
        "--feed=replay:a \"b\".gz",
        "--feed=synthetic:",
        "--reactors=2",
        "--pin=true",
        "--slow-consumer=conflate",
        "--slow-grace=0s",
        "--log-level=trace",
        "--log-format=json",
        "--outbox-bytes=131073",
        "--drain-spread=0s..1m",
    ];
    let first = from_flags(&flags, &machine(9_999)).unwrap();
    std::fs::write(&path, first.to_toml()).unwrap();
    let again = from_flags(&["--config", path.to_str().unwrap()], &machine(9_999));
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(again.unwrap().config, first.config);
    for name in cli::setting_names() {
        assert!(first.to_toml().contains(&format!("{name} = ")), "{name} is not printed");
    }
    assert!(first.to_toml().contains("# --pin; on cores [0, 1]\n"), "{}", first.to_toml());
}

#[test]
fn the_machine_is_what_the_current_affinity_mask_leaves() {
    let last = *Machine::probe().cores.last().unwrap();
    let mut mask = CpuSet::new();
    mask.set(last);
    rustix::thread::sched_setaffinity(None, &mask).unwrap(); // of this test's thread only
    let machine = Machine::probe();
    assert_eq!((machine.cores.as_slice(), machine.parallelism), (&[last][..], 1));
}

#[test]
fn a_venue_is_one_feed_with_all_its_symbols() {
    let feeds = ["--feed", "binance:BTCUSDT,ETHUSDT,depth=100", "--feed", "kraken:BTC/USD"];
    assert_eq!(config(&feeds).feeds, specs(&[feeds[1], feeds[3]]));
    let twice = ["--feed", "binance:BTCUSDT", "--feed", "binance:ETHUSDT"];
    assert!(error(&twice).contains("all its symbols in one --feed"), "{}", error(&twice));
    for (spec, advice) in [
        ("binance:", "names no symbol"),
        ("binance:depth=5", "names no symbol"),
        ("binanse:BTCUSDT", "did you mean `binance`?"),
        ("binance:BTCUSDT,dept=5", "did you mean `depth`?"),
        ("binance:BTCUSDT,depth=5001", "expected 1 to 5000 levels"),
        ("kraken:BTC/USD,depth=20", "depth=20: expected 10, 25"),
        ("binance:BTCUSDT,lines=3", "1 or 2"),
        ("binance:BTCUSDT,url=stream.binance.com", "a URL as wss://HOST[:PORT]"),
    ] {
        assert!(error(&["--feed", spec]).contains(advice), "{}", error(&["--feed", spec]));
    }
}

#[test]
fn origins_and_the_length_of_histories_are_checked() {
    let loaded = from_flags(
        &["--cors-origin", "https://a.example", "--cors-origin", "*", "--history", "0"],
        &machine(100_000),
    )
    .unwrap();
    assert_eq!(loaded.config.cors_origins, ["https://a.example", "*"]);
    assert_eq!(loaded.config.history, 0);
    assert!(loaded.to_toml().contains(r#"cors-origin = ["https://a.example", "*"]"#));
    let wrong = error(&["--cors-origin", "https://a.example/"]);
    assert!(
        wrong.starts_with(r#"--cors-origin "https://a.example/": expected an origin"#),
        "{wrong}"
    );
    let wrong = error(&["--history", "10001"]);
    assert_eq!(wrong, r#"--history "10001": expected a whole number from 0 to 10000"#);
}

#[test]
fn doors_are_where_clients_come_in() {
    let doors = config(&["--listen-tls", "[::]:443", "--tls-cert=a", "--tls-key=b"]).doors;
    let pair = Source::Files { chain: "a".into(), key: "b".into() };
    assert_eq!((doors.certificates, doors.tls.map(|at| at.port())), (vec![pair], Some(443)));
    let doors = config(&["--listen=none", "--listen-tls=1.2.3.4:5", "--tls-self-signed"]).doors;
    assert_eq!((doors.plain, doors.certificates), (None, vec![Source::SelfSigned]));
    for (flags, advice) in [
        (&["--listen=none"][..], "expected --listen-tls or --listen-unix with it"),
        (&["--listen-tls=1.2.3.4:5"], "--tls-cert FILE and --tls-key FILE, or --tls-self-signed"),
        (&["--listen-tls=x"], "expected an address and a port"),
        (&["--tls-self-signed"], "expected --listen-tls ADDRESS:PORT with it"),
        (&["--tls-cert=a", "--tls-key=b"], "expected --listen-tls ADDRESS:PORT with it"),
        (&["--listen-tls=1.2.3.4:5", "--tls-cert=a"], "1 --tls-cert and 0 --tls-key are given"),
        (&["--listen-tls=1.2.3.4:5", "--tls-cert=a", "--tls-self-signed"], "expected either files"),
        (&["--listen-unix="], "expected a file"),
        (&["--tls-key=b"], "expected --tls-cert FILE with it"),
        (&["--tls-key="], "expected a file"),
        (&["--listen-tls=1.2.3.4:5", "--tls-cert=", "--tls-key=b"], "expected a file"),
    ] {
        assert!(error(flags).contains(advice), "{}", error(flags));
    }
}

#[test]
fn what_an_address_may_have_is_read_and_shown() {
    let flags = ["--exempt-address", "10.0.0.0/8", "--exempt-address", "2001:db8::/32"];
    let more = ["--max-handshakes", "9", "--max-clients-per-address", "0"];
    let loaded = from_flags(&[flags, more].concat(), &machine(100_000)).unwrap();
    let addresses = &loaded.config.addresses;
    assert_eq!((addresses.handshakes, addresses.clients), (3, 0));
    assert!(loaded.to_toml().contains(r#"exempt-address = ["10.0.0.0/8", "2001:db8::/32"]"#));
    let none = from_flags(&["--exempt-address", "none"], &machine(100_000)).unwrap();
    assert!(none.config.addresses.exempt.is_empty());
    assert!(none.to_toml().contains(r#"exempt-address = ["none"]"#));
    for (flag, value, why) in [
        ("--exempt-address", "example.com", "an address or a network"),
        ("--exempt-address", "10.0.0.1/8", "expected 10.0.0.0/8"),
        ("--connect-rate", "-1", "whole number from 0 to 1000000"),
        ("--http-rate", "many", "whole number from 0 to 1000000"),
    ] {
        let error = error(&[&format!("{flag}={value}")]);
        assert!(error.starts_with(flag) && error.contains(why), "{error}");
    }
}

#[test]
fn proxies_are_named_before_they_are_believed() {
    let flags = ["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "unix", "--proxy-protocol"];
    let loaded = from_flags(&flags, &machine(100_000)).unwrap();
    let proxies = &loaded.config.proxies;
    assert!(proxies.unix && proxies.protocol && proxies.trusted.len() == 1);
    assert!(loaded.to_toml().contains(r#"trusted-proxy = ["10.0.0.0/8", "unix"]"#));
    let config = config(&[]);
    assert!(!config.proxies.protocol && !config.proxies.unix && config.proxies.trusted.is_empty());
    let alone = error(&["--proxy-protocol"]);
    assert!(alone.starts_with("--proxy-protocol") && alone.contains("--trusted-proxy"), "{alone}");
    let wrong = error(&["--trusted-proxy", "everybody"]);
    assert!(wrong.contains("or unix"), "{wrong}");
}

#[test]
fn the_memory_budget_is_half_of_what_there_is_or_what_is_given() {
    assert_eq!(config(&["--memory-budget", "2GiB"]).memory_budget, 2 << 30);
    assert_eq!(config(&["--memory-budget", "0"]).memory_budget, 0);
    let wrong = error(&["--memory-budget", "1MiB"]);
    assert!(wrong.contains("expected 0 or at least 4MiB"), "{wrong}");
}
