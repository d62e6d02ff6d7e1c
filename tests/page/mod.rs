//! The web page over HTTP, as a browser without JavaScript uses it.

/// What other sites, other names and guessers try.
mod attacks;
/// Under which hosts the page is served.
mod hosts;
/// Links from the form to their deletion.
mod journey;
/// Tokens, the audit log and health.
mod management;
/// When sessions end.
mod sessions;
pub mod visitor;
