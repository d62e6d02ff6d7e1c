//! The text of a configuration file.
//!
//! * What is refused is refused in a line a fault, `<file>:<line>:<column>: …`, with a line that the text has.
//! * What is accepted is what the server relies on: an address to listen on for DNS, at least one zone, no
//!   origin twice, and at least one zone that holds links.
//! * The same text is read in the same way again.

use std::path::Path;

use tinyns::config::{Config, ConfigError};

use super::assert_one_line;

const FILE: &str = "tinyns.toml";

/// See the [module](self).
pub fn check(data: &[u8]) {
    // A file that is no UTF-8 is refused before it is parsed.
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Config::parse(text, Path::new(FILE)) {
        Ok(config) => {
            check_config(&config);
            assert_eq!(Config::parse(text, Path::new(FILE)).ok(), Some(config));
        }
        Err(error) => check_error(text, &error),
    }
}

fn check_config(config: &Config) {
    assert!(!config.dns.listen.is_empty());
    assert!(config.zones.iter().any(|zone| zone.redirect_host.is_some()));
    for (place, zone) in config.zones.iter().enumerate() {
        let others = &config.zones[..place];
        assert!(others.iter().all(|other| other.origin != zone.origin));
        assert!(!zone.file.as_os_str().is_empty());
    }
}

fn check_error(text: &str, error: &ConfigError) {
    let ConfigError::Invalid(faults) = error else {
        panic!("nothing was read: {error}");
    };
    assert!(!faults.shown.is_empty());
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    for fault in &faults.shown {
        let shown = fault.to_string();
        assert_one_line(&shown);
        let (line, column) = (fault.line, fault.column);
        assert!(
            (1..=lines).contains(&line),
            "{shown}: there are {lines} lines"
        );
        assert!(
            shown.starts_with(&format!("{FILE}:{line}:{column}: ")),
            "{shown}"
        );
    }
}
