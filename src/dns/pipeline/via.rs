//! The transports, as far as a reply depends on them.

/// The largest message by TCP, in bytes (RFC 1035 §4.2.2).
pub(crate) const MAX_TCP_PAYLOAD: u16 = u16::MAX;

/// The transport by which a query came and its reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// UDP.
    Udp,
    /// TCP.
    Tcp {
        /// How long the connection may stay idle after this reply, in units of 100 ms, for clients that
        /// ask (RFC 7828 §3.1); zero asks them to close it.
        keepalive: u16,
    },
    /// TLS (RFC 7858).
    Tls {
        /// As for TCP.
        keepalive: u16,
    },
}

impl Via {
    /// Whether the transport hides messages from third parties.
    #[inline]
    pub(crate) fn is_encrypted(self) -> bool {
        match self {
            Self::Udp | Self::Tcp { .. } => false,
            Self::Tls { .. } => true,
        }
    }
}
