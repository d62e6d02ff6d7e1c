//! The operator's settings for replies.

use crate::dns::answer::chaos::Identity;
use crate::dns::limits::rate_limit::{RateLimitConfig, SignatureLimits};
use crate::dns::wire::edns::DEFAULT_UDP_PAYLOAD;

/// The operator's settings for replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest UDP reply, and the largest UDP message that the server says it accepts, in bytes;
    /// [`MIN_UDP_PAYLOAD`](crate::dns::wire::edns::MIN_UDP_PAYLOAD) to
    /// [`MAX_UDP_PAYLOAD`](crate::dns::wire::edns::MAX_UDP_PAYLOAD).
    pub udp_payload: u16,
    /// The name server identifier (RFC 5001), for clients that ask for it; at most
    /// [`MAX_NSID`](crate::dns::wire::edns::MAX_NSID) bytes.
    pub nsid: Option<Box<[u8]>>,
    /// The answers in class CH.
    pub identity: Identity,
    /// Whether the server uses DNS cookies.
    pub cookies: bool,
    /// The limit on replies by UDP; none for no limit.
    pub rate_limit: Option<RateLimitConfig>,
    /// The limits on signatures.
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
