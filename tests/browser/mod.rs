//! The pages in a browser: Debian's Chromium, which its WebDriver server controls.
//!
//! Each test starts a browser and a server of its own. [`inspect`] has the checks that every page has to pass: the
//! rules of axe-core in both colour schemes, no violation of the content security policy, no request to another host.
//! With `TINYNS_SCREENSHOTS=DIRECTORY` the tests save a picture of every page that they check.

mod colleagues;
mod driver;
mod fleet;
mod focus;
mod inspect;
mod journey;
mod judge;
mod keyboard;
mod links;
mod person;
mod redirect;
mod stats;

use std::path::{Path, PathBuf};

/// The directory with the tools that `tests/run.sh` installs.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools")
}
