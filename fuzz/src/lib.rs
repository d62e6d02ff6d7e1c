//! What must hold for whatever comes from outside: the properties that the fuzz targets check.
//!
//! ```text
//!   fuzz_targets/ ── libFuzzer, by `cargo fuzz` or .ci/fuzz ──┐
//!                                                             ├─ a target's check(input) ── tinyns
//!   tests/fuzz.rs ── seeds, and a few seconds of changes ─────┘
//! ```
//!
//! A property is more than that nothing panics: each target's module begins with the list of what it
//! holds its part of the program to. A check takes any bytes, panics where a property does not hold, and
//! starts from the same state each time, so that an input which was found says all there is to say; but for
//! `zone_text`, whose inputs are reloads of the same servers, and for what `packet` says of the server that
//! limits its replies, for which time is real.
//!
//! * [`packet`]: a packet, or several, to a server with zones and links, and the replies.
//! * [`zone_text`]: a master file, and the zone that is made of it.
//! * [`admin_json`]: a body that is sent to the admin API.
//! * [`url`]: the URL of a link, from the text in a request to the TXT record.
//! * [`config`]: a configuration file.
//!
//! `message` reads replies by rules of its own, so that hickory's decoder, which tinyns is built on, is
//! not the only judge of them. `world` has the servers that are asked.

pub mod admin_json;
pub mod config;
mod message;
pub mod packet;
pub mod url;
mod world;
pub mod zone_text;

/// A target: what is to be done with an input.
pub type Check = fn(&[u8]);

/// All targets, by the names of their seeds' directories.
pub const TARGETS: [(&str, Check); 5] = [
    ("admin_json", admin_json::check),
    ("config", config::check),
    ("packet", packet::check),
    ("url", url::check),
    ("zone_text", zone_text::check),
];

/// Asserts that a message is one line that can go to a terminal or a log.
fn assert_one_line(message: &str) {
    assert!(
        !message.is_empty() && !message.chars().any(char::is_control),
        "not one line: {message:?}"
    );
}
