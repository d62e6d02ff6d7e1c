//! From one packet to its reply.

pub(crate) mod fast;
pub(crate) mod general;
pub mod handler;
pub(crate) mod hot;
pub mod packet;
pub(crate) mod respond;
pub mod settings;
pub(crate) mod sign_answer;
pub(crate) mod tally;
