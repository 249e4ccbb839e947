//! Machines that were made up.

use super::*;
use crate::cli;
use crate::config;
use crate::transport::validity::{Validity, of_certificate};

const GIB: u64 = 1 << 30;

fn machine() -> Machine {
    Machine { cores: (0..8).collect(), parallelism: 8, open_files: 1 << 20, memory: 64 << 30 }
}

/// A machine that suits the defaults.
fn good() -> Facts {
    Facts {
        somaxconn: Some(4_096),
        syn_backlog: Some(512),
        syn_cookies: Some(1),
        wmem: Some([4_096, 16_384, 4 << 20]),
        rmem: Some([4_096, 131_072, 6 << 20]),
        conntrack: Some(262_144),
        clock: Some("tsc".to_owned()),
        clocks: vec!["tsc".to_owned(), "hpet".to_owned()],
        now: 1_800_000_000,
        ..Facts::default()
    }
}

fn findings(flags: &[&str], machine: &Machine, facts: &Facts) -> Vec<Finding> {
    let line = ["tickcast"].iter().chain(flags).map(|arg| (*arg).into());
    let Ok(cli::Action::Serve(settings)) = cli::parse(line) else { panic!("{flags:?}") };
    rules::judge(&config::load(settings, machine).expect("a configuration"), machine, facts)
}

/// The one finding of a name.
fn of(name: &str, flags: &[&str], machine: &Machine, facts: &Facts) -> Finding {
    let mut all = findings(flags, machine, facts).into_iter().filter(|f| f.name == name);
    let one = all.next().unwrap_or_else(|| panic!("nothing of {name}"));
    assert_eq!(all.next(), None);
    one
}

/// Its verdict and what mends it.
fn told(name: &str, flags: &[&str], machine: &Machine, facts: &Facts) -> (Verdict, String) {
    let Finding { verdict, fix, .. } = of(name, flags, machine, facts);
    assert_eq!(verdict == Verdict::Ok, fix.is_empty(), "{name}: {fix:?}");
    (verdict, fix.join("\n"))
}

#[test]
fn nothing_is_said_of_a_machine_that_suits() {
    let all = findings(&[], &machine(), &good());
    assert!(all.iter().all(|f| f.verdict == Verdict::Ok), "{all:#?}");
    assert_eq!(all.len(), 9);
    // What cannot be read is no reason to change anything.
    let all = findings(&[], &machine(), &Facts::default());
    assert!(all.iter().all(|f| f.verdict == Verdict::Ok), "{all:#?}");
}

#[test]
fn few_files_are_few_clients() {
    let few = Machine { open_files: 4_096, ..machine() };
    let (verdict, fix) = told("open files", &[], &few, &good());
    assert_eq!(verdict, Verdict::Change);
    // 20,000 clients, 1,024 handshakes and the reserve, and the 3,328 that there is room for.
    assert!(fix.contains("LimitNOFILE=32768") && fix.contains("--max-clients 3328"), "{fix}");
    let (verdict, _) = told("open files", &["--max-clients", "3328"], &few, &good());
    assert_eq!(verdict, Verdict::Ok, "that is what was wanted");
}

#[test]
fn reactors_are_as_many_as_run_at_once() {
    let quota = Machine { parallelism: 2, ..machine() };
    let (verdict, fix) = told("cores", &["--reactors", "4"], &quota, &good());
    assert_eq!(verdict, Verdict::Change);
    assert!(fix.contains("--reactors 2") && fix.contains("CPUQuota="), "{fix}");
    let few = Machine { cores: vec![0, 1], parallelism: 2, ..machine() };
    let (verdict, fix) = told("cores", &["--reactors", "4"], &few, &good());
    assert_eq!((verdict, fix.as_str()), (Verdict::Change, "--reactors 2"));
    let (verdict, _) = told("cores", &["--reactors", "2", "--pin", "true"], &quota, &good());
    assert_eq!(verdict, Verdict::Consider);
    assert_eq!(told("cores", &[], &quota, &good()).0, Verdict::Ok, "as many by default");
}

#[test]
fn the_kernels_queues_must_hold_a_storm() {
    let facts = Facts { somaxconn: Some(128), ..good() };
    let (verdict, fix) = told("somaxconn", &[], &machine(), &facts);
    assert_eq!((verdict, fix.as_str()), (Verdict::Change, "sysctl -w net.core.somaxconn=4096"));
    let facts = Facts { syn_cookies: Some(0), ..good() };
    let (verdict, fix) = told("syn backlog", &[], &machine(), &facts);
    assert_eq!(verdict, Verdict::Change);
    assert!(fix.contains("tcp_syncookies=1") && fix.contains("syn_backlog=4096"), "{fix}");
    let facts = Facts { syn_backlog: Some(4_096), ..facts };
    assert_eq!(told("syn backlog", &[], &machine(), &facts).0, Verdict::Ok);
    let facts = Facts { conntrack: Some(30_000), ..good() };
    let (verdict, fix) = told("conntrack", &[], &machine(), &facts);
    assert_eq!(verdict, Verdict::Change);
    assert_eq!(fix, "sysctl -w net.netfilter.nf_conntrack_max=65536");
}

#[test]
fn buffers_must_hold_what_is_under_way() {
    let facts = Facts {
        wmem: Some([4_096, 16_384, 131_072]),
        rmem: Some([4_096, 8_192, 65_536]),
        ..good()
    };
    let (verdict, fix) = told("send buffers", &[], &machine(), &facts);
    assert_eq!(verdict, Verdict::Change);
    assert_eq!(fix, "sysctl -w net.ipv4.tcp_wmem='4096 16384 262144'");
    let (_, fix) = told("receive buffers", &[], &machine(), &facts);
    assert_eq!(fix, "sysctl -w net.ipv4.tcp_rmem='4096 8192 1048576'");
}

#[test]
fn slow_clocks_are_replaced_where_there_is_a_better_one() {
    for clock in ["hpet", "acpi_pm"] {
        let facts = Facts { clock: Some(clock.to_owned()), ..good() };
        let (verdict, fix) = told("clock source", &[], &machine(), &facts);
        assert_eq!(verdict, Verdict::Change);
        assert!(fix.starts_with("echo tsc > /sys/devices/system/clocksource/"), "{fix}");
        let facts = Facts { clocks: vec!["hpet".to_owned(), "acpi_pm".to_owned()], ..facts };
        let (verdict, fix) = told("clock source", &[], &machine(), &facts);
        assert!(verdict == Verdict::Change && fix.contains("dmesg"), "{fix}");
    }
    for clock in ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"] {
        let facts = Facts { clock: Some(clock.to_owned()), ..good() };
        assert_eq!(told("clock source", &[], &machine(), &facts).0, Verdict::Ok);
    }
}

#[test]
fn memory_must_hold_what_is_always_there_and_the_budget() {
    let with = |mib: usize| Machine { memory: mib << 20, ..machine() };
    assert_eq!(of("memory", &[], &with(256), &good()).verdict, Verdict::Change);
    // 4 MiB of ring, 320 of history, 160 of tickers; the rest is for clients.
    let flags = ["--max-clients", "10000", "--memory-budget", "2GiB"];
    let (verdict, fix) = told("memory", &flags, &with(484 + 1_024), &good());
    assert_eq!((verdict, &*fix), (Verdict::Consider, "--memory-budget 1GiB"));
    for flags in [
        &["--max-clients", "10000", "--memory-budget", "1GiB"][..],
        &["--max-clients", "1024", "--memory-budget", "0"],
        &["--max-clients", "1024", "--memory-budget", "2GiB"],
    ] {
        assert_eq!(told("memory", flags, &with(484 + 1_024), &good()).0, Verdict::Ok, "{flags:?}");
    }
    let flags = ["--max-clients", "10000", "--memory-budget", "0"];
    assert_eq!(told("memory", &flags, &with(484 + 1_024), &good()).0, Verdict::Consider);
}

#[test]
fn the_disk_of_recordings_has_room() {
    let flags = ["--feed", "binance:BTCUSDT", "--record", "/rec"];
    for (disk, verdict) in [
        (Ok(2 * GIB), Verdict::Ok),
        (Ok(GIB - 1), Verdict::Change),
        (Err("/: permission denied".to_owned()), Verdict::Change),
    ] {
        let facts = Facts { disk: Some(disk), ..good() };
        assert_eq!(told("recording", &flags, &machine(), &facts).0, verdict);
    }
}

#[test]
fn what_the_start_would_fail_of_must_change() {
    let shut = vec![("127.0.0.1:443".to_owned(), "Permission denied".to_owned())];
    let facts = Facts { shut, ..good() };
    assert_eq!(told("listen", &[], &machine(), &facts).0, Verdict::Change);
    let flags = ["--spool-dir", "/spool", "--spool-bytes", "1GiB"];
    for (spool, verdict) in [
        (Err("no".to_owned()), Verdict::Change),
        (Ok(GIB - 1), Verdict::Change),
        (Ok(GIB), Verdict::Ok),
    ] {
        let facts = Facts { spool: Some(spool), ..good() };
        assert_eq!(told("spool", &flags, &machine(), &facts).0, verdict);
    }
}

#[test]
fn certificates_end_and_files_are_readable() {
    let day = 24 * 3600;
    let now = good().now;
    let valid = |begins, ends| Some(Validity { begins, ends });
    for (validity, verdict) in [
        (valid(now - day, now - 1), Verdict::Change),
        (valid(now - day, now), Verdict::Change),
        (valid(now, now + 13 * day), Verdict::Consider),
        (valid(now, now + 15 * day), Verdict::Ok),
        (valid(now + 1, now + 99 * day), Verdict::Change),
        (None, Verdict::Ok),
    ] {
        let validities = vec![("/chain.pem".into(), validity)];
        let facts = Facts { certificates: Some(Ok(())), validities, ..good() };
        assert_eq!(told("certificates", &[], &machine(), &facts).0, verdict, "{validity:?}");
    }
    let facts = Facts { certificates: Some(Ok(())), ..good() };
    assert_eq!(told("certificates", &[], &machine(), &facts).0, Verdict::Consider, "made here");
    let bad = Some(Err("no key".to_owned()));
    let facts = Facts { certificates: bad.clone(), access: bad, ..good() };
    for name in ["certificates", "access"] {
        assert_eq!(told(name, &[], &machine(), &facts).0, Verdict::Change);
    }
}

#[test]
fn the_end_of_a_certificate_is_read() {
    for (year, at) in [(2027, 1_801_440_000), (2049, 2_495_750_400), (2060, 2_842_819_200)] {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("it");
        params.not_before = rcgen::date_time_ymd(2027, 1, 31);
        params.not_after = rcgen::date_time_ymd(year, 2, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let validity = Validity { begins: 1_801_353_600, ends: at };
        assert_eq!(of_certificate(certificate.der()), Some(validity), "{year}");
        // Whatever is cut off or wrong is no time, and no panic.
        let der = certificate.der();
        for cut in 0..der.len() {
            let _ = of_certificate(&der[..cut]);
        }
    }
    assert_eq!(of_certificate(b"\x30\x84\xff\xff\xff\xff"), None);
}

#[test]
fn the_report_says_how_much_must_change() {
    let findings = [
        Finding::ok("cores", "2"),
        Finding::change("somaxconn", "128".to_owned(), vec!["sysctl".to_owned()]),
    ];
    let text = in_words(&findings, 1);
    assert_eq!(
        text,
        "ok        cores           2\n\
         change    somaxconn       128\n\
         \u{20}                             sysctl\n\n\
         1 thing must change\n"
    );
    let json: serde_json::Value = serde_json::from_str(&in_json(&findings, 1)).expect("JSON");
    assert_eq!(json["changes"], 1);
    assert_eq!(json["checks"][1]["fix"][0], "sysctl");
}
