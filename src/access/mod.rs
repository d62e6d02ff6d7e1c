//! Access to the admin API and the page: the tokens, their roles, the sessions, and the limit on wrong tokens.
//!
//! The *root token* is in a file or the environment of a server, and needs no store. All other tokens are in the
//! store, so all its servers share them. A request passes the [`Gate`], which finds its [`Caller`]; the routes of the
//! API then compare what a call needs with the caller's [`Role`] and zones. For the page, the gate exchanges a token for a
//! [`Session`].

mod caller;
mod gate;
mod guesses;
mod rate;
mod secret;
mod sessions;
pub mod token;
mod tokens;

pub use self::caller::{Caller, NoRole, Permission, ROOT_NAME, Role};
pub use self::gate::{Gate, Refusal};
pub use self::rate::Rate;
pub use self::sessions::{SESSION_SECS, Session};
pub use self::token::{AdminToken, TokenError, TokenTextError};
pub use self::tokens::{
    NewToken, TOKEN_LIST, TOKEN_USES, Token, TokenChangeError, TokenRule, Tokens,
};
