//! The foundation: every other part may use it, and it uses no other part.

pub mod admission;
pub(crate) mod batch;
pub mod client_files;
pub(crate) mod client_tls;
pub mod clock;
pub(crate) mod environment;
pub(crate) mod files;
pub(crate) mod lock;
pub mod logging;
pub mod metrics;
pub(crate) mod mmdb;
pub mod name;
pub mod prefix;
pub mod progress;
pub(crate) mod qr;
pub(crate) mod span;
pub(crate) mod text;
pub(crate) mod toml_text;
