//! DNSSEC (RFC 9364): zones are signed as they are answered from.
//!
//! ```text
//!   keys   directory of a zone ── which keys there are, and what each does when ── ZoneKeys at a time
//!   key    one key: its file, its tag, its signatures
//! ```

pub mod key;
pub mod keys;
