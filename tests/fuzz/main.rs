//! The fuzz targets without a fuzzer: each over its seeds and over what a generator makes of them and of its dictionary, the same
//! in every run. What is asserted is in `fuzz/`. `scripts/fuzz` has libFuzzer search for longer, led by what the code does.

mod change;
#[path = "../../fuzz/lib.rs"]
pub mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use change::{Change, Material};

/// A test for each target: its name and how many inputs are made up for it, fewer where one costs more.
macro_rules! targets {
    ($($name:ident: $inputs:literal,)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                pass(stringify!($name), $inputs, targets::$name);
            }
        )*
    };
}

targets! {
    binance: 4_000,
    binance_client: 4_000,
    binance_usdm: 4_000,
    bybit: 4_000,
    client_input: 4_000,
    coinbase: 4_000,
    coinbase_live: 4_000,
    config: 1_000,
    feed_spec: 4_000,
    head: 4_000,
    kraken: 4_000,
    lines: 2_000,
    okx: 4_000,
    proxied: 4_000,
    recording: 1_000,
    request: 4_000,
    spool: 1_000,
    token: 4_000,
}

/// Targets, seeds and dictionaries go by the same names.
#[test]
fn no_target_is_left_out() {
    let names: BTreeSet<&str> = NAMES.iter().copied().collect();
    let stems = |paths: Vec<PathBuf>| -> BTreeSet<String> {
        paths.iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let known = |found: &BTreeSet<String>| found.iter().all(|name| names.contains(name.as_str()));
    let fuzzed = stems(files("fuzz_targets"));
    assert!(known(&fuzzed) && fuzzed.len() == names.len(), "{fuzzed:?}");
    let seeded = stems(files("seeds"));
    assert!(known(&seeded) && seeded.len() == names.len(), "{seeded:?}");
    let words =
        files("").into_iter().filter(|path| path.extension().is_some_and(|it| it == "dict"));
    let words = stems(words.collect());
    assert!(known(&words) && !words.is_empty(), "{words:?}");
}

/// What is in a folder of `fuzz/`, in order.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Runs a target over its seeds, and over as many inputs that are made of them.
fn pass(name: &str, inputs: u32, target: fn(&[u8]) -> bool) {
    let mut material = Material::default();
    for path in files(&format!("seeds/{name}")) {
        let seed = fs::read(&path).unwrap();
        let understood = kept_if_it_fails(name, &seed, || target(&seed));
        // Nothing would be reached by what is made of a seed that is refused at its door. `found-` are
        // inputs that failed once, whatever they are.
        let found = path.file_name().unwrap().to_str().unwrap().starts_with("found-");
        assert!(understood || found, "{path:?} is not understood");
        material.seeds.push(seed);
    }
    material.words = change::dictionary(name);
    made_up(name, &material, inputs, target);
}

fn made_up(name: &str, material: &Material, inputs: u32, target: fn(&[u8]) -> bool) {
    let config = Config { cases: inputs, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let strategy = (any::<prop::sample::Index>(), prop::collection::vec(Change::any(), 1..5));
    let (understood, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let outcome = TestRunner::new_with_rng(config, random).run(&strategy, |(seed, changes)| {
        let count = if target(&material.input(seed, &changes)) { &understood } else { &refused };
        count.set(count.get() + 1);
        Ok(())
    });
    if let Err(TestError::Fail(why, (seed, changes))) = &outcome {
        // The smallest that was found, outside of the search for it.
        let input = material.input(*seed, changes);
        kept_if_it_fails(name, &input, || target(&input));
        panic!("{why}, and does not the second time");
    }
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // Else too little or too much is changed for the parser to be searched.
    let (understood, refused) = (understood.get(), refused.get());
    println!("{name}: {understood} inputs understood, {refused} refused");
    assert!(understood.min(refused) >= inputs / 100, "{understood} understood, {refused} refused");
}

/// Writes the input to a file if what it is put into panics, and says where.
fn kept_if_it_fails<T>(name: &str, input: &[u8], run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("found-{name}"));
        fs::write(&path, input).unwrap();
        eprintln!("{name} fails with {path:?}: once mended, keep it in fuzz/seeds/{name}");
        resume_unwind(panic)
    })
}
