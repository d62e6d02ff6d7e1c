//! The board of filters: how servers that share a store without a strict feed know whose existence filters deny names, and
//! leave each other the names of new links. The protocol is that of [`crate::links`]; a store only keeps what it is given.
//!
//! A server whose filter denies names has a *lease*: a number that it increases. A server that has made links leaves
//! *posts*: lists of names with the numbers 1, 2, 3 and so on. One small item, the *register*, has the numbers of all
//! leases and of the last posts, so one consistent read shows whether anything has changed.

use std::fmt;

use async_trait::async_trait;

use super::StoreError;
use crate::link::LinkName;

/// The most names of a post: some 140 KB if all of them are as long as names can be here.
pub const MAX_POST_NAMES: usize = 1_000;
/// How many posts of a server are kept. A later one replaces the oldest.
pub const KEPT_POSTS: u64 = 64;

/// The numbers of all leases and posts, as of one consistent read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// The servers whose filters deny names, and the numbers of their leases.
    pub leases: Vec<(Box<str>, u64)>,
    /// The servers that have left names, and the number of the last post of each.
    pub posts: Vec<(Box<str>, u64)>,
}

/// The board of a store; see the [module](self). Ids are 1 to 32 letters and digits, random and new at each start. All reads
/// are consistent: they show what was acknowledged before they began.
#[async_trait]
pub trait FilterBoard: Send + Sync + fmt::Debug {
    /// Reads the register.
    async fn register(&self) -> Result<Register, StoreError>;

    /// Sets the number of a lease, unless it is as high already.
    async fn lease(&self, id: &str, number: u64) -> Result<(), StoreError>;

    /// Removes a lease that still has this number.
    async fn end_lease(&self, id: &str, number: u64) -> Result<(), StoreError>;

    /// Leaves at most [`MAX_POST_NAMES`] names. `number` is higher by one than that of the last post with this id. The names
    /// can be read before the register shows the number.
    async fn post(&self, id: &str, number: u64, names: &[LinkName]) -> Result<(), StoreError>;

    /// Reads a post; none if a later one has replaced it.
    async fn posted(&self, id: &str, number: u64) -> Result<Option<Vec<LinkName>>, StoreError>;

    /// Takes a server off the list of those that have left names, if its last post still has this number.
    async fn end_posts(&self, id: &str, number: u64) -> Result<(), StoreError>;
}
