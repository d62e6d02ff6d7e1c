//! What the operator has decided about replies.

use crate::dns::answer::chaos::Identity;
use crate::dns::limits::rate_limit::{RateLimitConfig, SignatureLimits};
use crate::dns::wire::edns::DEFAULT_UDP_PAYLOAD;

/// What the operator has decided about replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest UDP reply, and the largest UDP message that we say we take, in bytes;
    /// [`MIN_UDP_PAYLOAD`](crate::dns::wire::edns::MIN_UDP_PAYLOAD) to
    /// [`MAX_UDP_PAYLOAD`](crate::dns::wire::edns::MAX_UDP_PAYLOAD).
    pub udp_payload: u16,
    /// The name server identifier (RFC 5001), for who asks for it; at most
    /// [`MAX_NSID`](crate::dns::wire::edns::MAX_NSID) bytes.
    pub nsid: Option<Box<[u8]>>,
    /// What is told in class CH.
    pub identity: Identity,
    /// Whether DNS cookies are answered.
    pub cookies: bool,
    /// How many replies a network gets by UDP; none for no limit.
    pub rate_limit: Option<RateLimitConfig>,
    /// How many signatures are made a second.
    pub signatures: SignatureLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            udp_payload: DEFAULT_UDP_PAYLOAD,
            nsid: None,
            identity: Identity::default(),
            cookies: true,
            rate_limit: None,
            signatures: SignatureLimits::default(),
        }
    }
}
