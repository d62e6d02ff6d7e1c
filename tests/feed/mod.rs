//! The feed of changes: servers hear of what other programs change, on every store.

mod dynamodb;
mod sqlite;
