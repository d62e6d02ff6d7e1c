//! Who may call the admin API.

pub mod token;

pub use token::{AdminToken, TokenError, TokenTextError};
