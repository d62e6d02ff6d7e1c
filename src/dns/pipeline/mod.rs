//! From one packet to its reply.
//!
//! Each file uses only files below it: `packet` → `fast`, `general` → `respond` → `sign_answer` → `handler` → `hot` and
//! the small files that all stages share (`pending`, `via`, `tally`, `lookups`, `made_up`, `reuse`, `signing_state`, `settings`).

pub(crate) mod fast;
pub(crate) mod general;
pub mod handler;
pub(crate) mod hot;
pub(crate) mod lookups;
mod made_up;
pub mod packet;
pub(crate) mod pending;
pub(crate) mod respond;
mod reuse;
pub mod settings;
pub(crate) mod sign_answer;
mod signing_state;
pub(crate) mod tally;
pub mod via;
