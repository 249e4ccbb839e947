//! A configuration file: it is understood or refused in one line, and what `check-config` shows of it is a file that means
//! the same.
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use tickcast::cli::{self, Action, Settings};
use tickcast::config::{ConfigError, Loaded, Machine, load};

/// The file, one of this process, and the settings of a command line that names it.
static FILE: LazyLock<(PathBuf, Settings)> = LazyLock::new(|| {
    let name = format!("tickcast-fuzz-{}.toml", std::process::id());
    let path = std::env::temp_dir().join(name);
    let line = ["tickcast".into(), "--config".into(), path.clone().into_os_string()];
    match cli::parse(line) {
        Ok(Action::Serve(settings)) => (path, settings),
        other => panic!("{other:?}"),
    }
});

fn read(text: &[u8]) -> Result<Loaded, ConfigError> {
    let (path, settings) = &*FILE;
    fs::write(path, text).expect("writes");
    let machine =
        Machine { cores: vec![0, 1], parallelism: 2, open_files: 100_000, memory: 4 << 30 };
    let loaded = load(settings.clone(), &machine);
    fs::remove_file(path).expect("removes");
    loaded
}

/// The target. Understood is what is a configuration.
pub fn config(input: &[u8]) -> bool {
    let loaded = read(input);
    let understood = loaded.is_ok();
    match loaded {
        Ok(loaded) => {
            let shown = loaded.to_toml();
            let again = read(shown.as_bytes()).expect("what is shown is a configuration");
            assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config), "{shown}");
        }
        Err(error) => {
            let told = error.to_string();
            assert!(!told.is_empty() && told.lines().count() == 1, "{told:?}");
        }
    }
    understood
}
