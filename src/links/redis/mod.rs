//! The shared read cache.

mod config;

pub use config::{RedisConfig, RedisMode, RedisUrl, RedisUrlError};
