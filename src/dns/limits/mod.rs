//! What a client or a network gets at most, and how clients show that their address is theirs.

pub mod cookie;
pub mod rate_limit;
