//! EDNS(0) of a reply (RFC 6891), and the size that UDP replies keep to.

use hickory_proto::op::Edns;
use hickory_proto::rr::rdata::opt::EdnsOption;

use super::answer::ExtendedError;

/// The largest UDP reply, and the largest UDP request we say we take, in bytes: what passes every
/// common path in one piece (DNS flag day 2020, RFC 9715 §3.1).
pub const MAX_UDP_PAYLOAD: u16 = 1_232;
/// The largest UDP message without EDNS, in bytes (RFC 1035 §4.2.1).
const MAX_UDP_PLAIN: u16 = 512;
/// The option code of extended DNS errors (RFC 8914 §2).
pub const OPTION_EXTENDED_ERROR: u16 = 15;

/// The OPT record of a reply to a request that has one: version 0, our own size, DO repeated
/// (RFC 3225 §3), all other flags zero (RFC 6891 §6.1.4).
pub fn reply(request: &Edns) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP_PAYLOAD);
    edns.set_version(0);
    edns.set_dnssec_ok(request.flags().dnssec_ok);
    edns
}

/// The largest UDP reply that a message's EDNS allows, in bytes.
pub fn udp_limit(edns: Option<&Edns>) -> u16 {
    udp_limit_of(edns.map(Edns::max_payload))
}

/// The largest UDP reply to a message whose EDNS has this size, if it has EDNS; in bytes.
pub fn udp_limit_of(size: Option<u16>) -> u16 {
    // RFC 6891 §6.2.3: sizes below 512 are read as 512.
    size.map_or(MAX_UDP_PLAIN, |size| {
        size.clamp(MAX_UDP_PLAIN, MAX_UDP_PAYLOAD)
    })
}

/// Adds an extended error.
pub fn push_extended_error(edns: &mut Edns, error: ExtendedError) {
    let mut data = Vec::with_capacity(2 + error.text.len());
    data.extend(error.code.to_be_bytes());
    data.extend(error.text.as_bytes());
    edns.options_mut()
        .insert(EdnsOption::Unknown(OPTION_EXTENDED_ERROR, data));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6891_6_2_3_sizes() {
        let limit = |size: u16| {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            udp_limit(Some(&edns))
        };
        assert_eq!(udp_limit(None), 512);
        assert_eq!(limit(0), 512);
        assert_eq!(limit(512), 512);
        assert_eq!(limit(1_000), 1_000);
        assert_eq!(limit(1_232), 1_232);
        assert_eq!(limit(65_535), 1_232);
    }

    #[test]
    fn rfc8914_2_extended_error() {
        let mut edns = reply(&Edns::new());
        let error = ExtendedError {
            code: ExtendedError::NOT_AUTHORITATIVE,
            text: "why",
        };
        push_extended_error(&mut edns, error);
        let wanted = EdnsOption::Unknown(15, b"\x00\x14why".to_vec());
        assert_eq!(edns.option(OPTION_EXTENDED_ERROR.into()), Some(&wanted));
    }
}
