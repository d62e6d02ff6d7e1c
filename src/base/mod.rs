//! The ground: what every other part may use, and what uses no part of the product itself.

pub mod admission;
pub mod clock;
pub(crate) mod environment;
pub(crate) mod files;
pub mod logging;
pub mod metrics;
pub mod name;
pub mod prefix;
pub mod progress;
pub(crate) mod text;
pub(crate) mod toml_text;
