//! EDNS(0) (RFC 6891): the OPT records of queries, and the size limits of replies.
//!
//! Reading allocates nothing. The contents of an option are an error only where the option's RFC says so; unknown
//! and unused options are ignored (RFC 6891 §6.1.2). `reply` writes the OPT records of replies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dns::limits::cookie::{Cookie, OPTION_COOKIE};

/// The default for the largest UDP reply and the largest UDP query, in bytes. It passes every common path without
/// fragmentation (DNS flag day 2020, RFC 9715 §3.1).
pub const DEFAULT_UDP_PAYLOAD: u16 = 1_232;
/// The largest UDP message without EDNS, in bytes (RFC 1035 §4.2.1). Smaller sizes of clients and operators count as
/// this (RFC 6891 §6.2.3).
pub const MIN_UDP_PAYLOAD: u16 = 512;
/// The largest size that an operator may choose for UDP, in bytes: the largest that RFC 6891 §6.2.5 recommends.
pub const MAX_UDP_PAYLOAD: u16 = 4_096;
/// The longest name server identifier, in bytes. It is sent whole, even in replies of 512 bytes.
pub const MAX_NSID: usize = 128;

/// The type OPT (RFC 6891 §6.1.1).
pub(crate) const TYPE_OPT: u16 = 41;
/// An OPT record without options: the root as its owner, type, class, TTL and the length of its data
/// (RFC 6891 §6.1.2).
pub(crate) const OPT_LEN: usize = 11;
/// The DO bit among the flags of an OPT record (RFC 6891 §6.1.4).
pub(crate) const DNSSEC_OK: u8 = 0x80;
/// The CO bit ("compact answers OK") among the flags of an OPT record (RFC 9824 §5.1).
pub(crate) const COMPACT_OK: u8 = 0x40;
/// The option code of the name server identifier (RFC 5001 §2.3).
pub(crate) const OPTION_NSID: u16 = 3;
/// The option code of the client subnet (RFC 7871 §6).
pub(crate) const OPTION_CLIENT_SUBNET: u16 = 8;
/// The option code of edns-tcp-keepalive (RFC 7828 §3.1).
pub(crate) const OPTION_KEEPALIVE: u16 = 11;
/// The option code of padding (RFC 7830 §3).
pub(crate) const OPTION_PADDING: u16 = 12;
/// The option code of extended DNS errors (RFC 8914 §2).
pub(crate) const OPTION_EXTENDED_ERROR: u16 = 15;

/// The contents of a query's OPT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueryEdns<'p> {
    /// The largest UDP message that the client accepts, in bytes.
    pub(crate) udp_payload: u16,
    /// The version of EDNS. The server supports version 0.
    pub(crate) version: u8,
    /// The DO bit (RFC 3225 §3).
    pub(crate) dnssec_ok: bool,
    /// The CO bit (RFC 9824 §5.1).
    pub(crate) compact_ok: bool,
    /// The client's cookie, with the server's part if there is one.
    pub(crate) cookie: Option<Cookie<'p>>,
    /// Whether the client asks for the name server identifier (RFC 5001 §2.1).
    pub(crate) nsid: bool,
    /// Whether the client asks how long a connection may be idle (RFC 7828 §3.2.1).
    pub(crate) keepalive: bool,
    /// The contents of the client subnet, which [`ClientSubnet::read`] reads where answers depend on clients.
    pub(crate) subnet: Option<&'p [u8]>,
    /// Whether the query has the padding option, and so wants a padded reply (RFC 7830 §4).
    pub(crate) padding: bool,
}

/// Why an OPT record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadOptions;

impl<'p> QueryEdns<'p> {
    /// Reads the class, the TTL and the options of an OPT record.
    ///
    /// # Errors
    /// The options are cut off, or the length of the cookie is not allowed (RFC 7873 §5.2.2).
    pub(crate) fn read(
        class: [u8; 2],
        ttl: [u8; 4],
        mut options: &'p [u8],
    ) -> Result<Self, BadOptions> {
        // The upper bits of the rcode and all other flags have no meaning in a query (RFC 6891 §6.1.4).
        let [_, version, flags, _] = ttl;
        let mut edns = Self {
            udp_payload: u16::from_be_bytes(class),
            version,
            dnssec_ok: flags & DNSSEC_OK != 0,
            compact_ok: flags & COMPACT_OK != 0,
            cookie: None,
            nsid: false,
            keepalive: false,
            subnet: None,
            padding: false,
        };
        while let Some((&[c0, c1, l0, l1], rest)) = options.split_first_chunk() {
            let len = usize::from(u16::from_be_bytes([l0, l1]));
            let (data, rest) = rest.split_at_checked(len).ok_or(BadOptions)?;
            match u16::from_be_bytes([c0, c1]) {
                // RFC 7873 §5.2: of several, the first counts.
                OPTION_COOKIE if edns.cookie.is_none() => {
                    edns.cookie = Some(Cookie::read(data).ok_or(BadOptions)?);
                }
                // RFC 5001 §2.1 and RFC 7828 §3.2.1: both are empty in a query, but other contents are no error.
                OPTION_NSID => edns.nsid = true,
                OPTION_KEEPALIVE => edns.keepalive = true,
                // RFC 7871 does not say which of several counts.
                OPTION_CLIENT_SUBNET if edns.subnet.is_none() => edns.subnet = Some(data),
                // RFC 7830 §3: any length and any contents.
                OPTION_PADDING => edns.padding = true,
                _ => {}
            }
            options = rest;
        }
        match options {
            [] => Ok(edns),
            _ => Err(BadOptions),
        }
    }
}

/// The client subnet of a query (RFC 7871 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientSubnet<'p> {
    /// The contents of the option, as the client sent them.
    data: &'p [u8],
    /// The first address of the subnet; none if the client does not want to be located (RFC 7871 §7.1.2).
    pub(crate) address: Option<IpAddr>,
}

impl<'p> ClientSubnet<'p> {
    /// The place of SCOPE PREFIX-LENGTH.
    const SCOPE_AT: usize = 3;

    /// Reads the contents of the option; none if they are malformed.
    pub(crate) fn read(data: &'p [u8]) -> Option<Self> {
        let (&[f0, f1, source, scope], bytes) = data.split_first_chunk::<4>()?;
        // RFC 7871 §6: zero in queries, and no more bytes than SOURCE PREFIX-LENGTH needs, with zeros behind it.
        if scope != 0 || bytes.len() != usize::from(source).div_ceil(8) {
            return None;
        }
        if let Some(last) = bytes.last()
            && last.trailing_zeros() < u32::from(source).next_multiple_of(8) - u32::from(source)
        {
            return None;
        }
        let address = match u16::from_be_bytes([f0, f1]) {
            // Without an address, the family has no meaning: dig sends 0 for `+subnet=0`.
            0 if source == 0 => None,
            1 => Some(IpAddr::V4(Ipv4Addr::from(padded::<4>(bytes)?))),
            2 => Some(IpAddr::V6(Ipv6Addr::from(padded::<16>(bytes)?))),
            _ => return None,
        };
        Some(Self {
            data,
            address: address.filter(|_| source > 0),
        })
    }

    /// The length of the option in a reply, without its header: that of the query.
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// Writes the contents of the option in a reply: those of the query, and the scope (RFC 7871 §7.2.1).
    pub(crate) fn write(&self, scope: u8, to: &mut [u8]) {
        to.copy_from_slice(self.data);
        to[Self::SCOPE_AT] = scope;
    }
}

/// Bytes with zeros behind them; none if there are more.
fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(all)
}

/// The largest UDP reply, in bytes, for a query with this EDNS size, or without EDNS. `cap` is the operator's limit.
pub(crate) fn udp_limit(size: Option<u16>, cap: u16) -> u16 {
    // RFC 6891 §6.2.3: sizes below 512 are read as 512.
    size.map_or(MIN_UDP_PAYLOAD, |size| size.min(cap).max(MIN_UDP_PAYLOAD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[u8]) -> Result<QueryEdns<'_>, BadOptions> {
        QueryEdns::read([0x04, 0xD0], [0, 0, 0x80, 0], options)
    }

    #[test]
    fn rfc6891_6_2_3_sizes() {
        let limit = |size| udp_limit(Some(size), 1_232);
        assert_eq!(udp_limit(None, 1_232), 512);
        assert_eq!(udp_limit(None, 4_096), 512);
        assert_eq!((limit(0), limit(511), limit(512)), (512, 512, 512));
        assert_eq!((limit(1_000), limit(1_232)), (1_000, 1_232));
        assert_eq!((limit(1_233), limit(65_535)), (1_232, 1_232));
        assert_eq!(udp_limit(Some(65_535), 4_096), 4_096);
    }

    #[test]
    fn rfc6891_6_1_3_what_it_says() {
        let edns = read(b"").unwrap();
        assert_eq!((edns.udp_payload, edns.version), (1_232, 0));
        assert!(edns.dnssec_ok && !edns.nsid && !edns.keepalive && !edns.padding);
        // RFC 6891 §6.1.4: of all other bits none has an effect.
        let same = QueryEdns::read([0x04, 0xD0], [0xFF, 0, 0xBF, 0xFF], b"").unwrap();
        assert_eq!(edns, same);
        // RFC 9824 §5.1
        let both = QueryEdns::read([0x04, 0xD0], [0, 0, 0xC0, 0], b"").unwrap();
        assert!(both.compact_ok && both.dnssec_ok);
        let other = QueryEdns::read([2, 0], [0, 9, 0x7F, 0xFF], b"").unwrap();
        assert_eq!((other.version, other.dnssec_ok), (9, false));
    }

    #[test]
    fn rfc7871_6_the_form_of_a_subnet() {
        let check = |data: &[u8], expected: Option<Option<&str>>| {
            let read = ClientSubnet::read(data).map(|subnet| subnet.address);
            let expected = expected.map(|address| address.map(|text| text.parse().unwrap()));
            assert_eq!(read, expected, "{data:?}");
        };
        check(b"\0\x01\x18\0\xC0\0\x02", Some(Some("192.0.2.0")));
        check(b"\0\x01\x20\0\xC0\0\x02\x63", Some(Some("192.0.2.99")));
        check(b"\0\x01\x01\0\x80", Some(Some("128.0.0.0")));
        check(
            b"\0\x02\x38\0\x20\x01\x0d\xb8\0\0\x01",
            Some(Some("2001:db8:0:100::")),
        );
        // RFC 7871 §7.1.2
        check(b"\0\x01\0\0", Some(None));
        check(b"\0\x02\0\0", Some(None));
        check(b"\0\0\0\0", Some(None));
        let bad: [&[u8]; 13] = [
            b"",
            b"\0\x01\0",
            // Too many or too few bytes of the address.
            b"\0\x01\0\0\0",
            b"\0\x01\x18\0\xC0\0\x02\0",
            b"\0\x01\x18\0\xC0\0",
            b"\0\x01\x19\0\xC0\0\x02",
            // Bits behind the prefix.
            b"\0\x01\x17\0\xC0\0\x03",
            b"\0\x02\x01\0\x40",
            // A scope.
            b"\0\x01\x18\x18\xC0\0\x02",
            // Longer than an address.
            b"\0\x01\x21\0\xC0\0\x02\x01\0",
            b"\0\x02\x81\0\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            // Other families.
            b"\0\0\x08\0\x0A",
            b"\0\x03\0\0",
        ];
        for data in bad {
            check(data, None);
        }
        let subnet = ClientSubnet::read(b"\0\x01\x18\0\xC0\0\x02").unwrap();
        let mut written = [0; 7];
        assert_eq!(subnet.len(), written.len());
        subnet.write(20, &mut written);
        assert_eq!(&written, b"\0\x01\x18\x14\xC0\0\x02");
    }

    #[test]
    fn rfc6891_6_1_2_options() {
        assert!(read(b"\0\x03\0\0").unwrap().nsid);
        assert!(read(b"\0\x0b\0\0").unwrap().keepalive);
        assert!(read(b"\0\x0c\0\0").unwrap().padding);
        assert!(read(b"\0\x0c\0\x02\x01\xFF").unwrap().padding);
        let cookie = b"\0\x0a\0\x08cookies!\0\x0a\0\x01x\0\x03\0\0";
        let edns = read(cookie).unwrap();
        assert_eq!(edns.cookie, Cookie::read(b"cookies!"), "the first counts");
        assert!(edns.nsid);
        // Unknown ones, and a client's subnet that is none.
        assert!(read(b"\xFF\xFE\0\x02hi\0\x08\0\x01\xFF").is_ok());
        for cut in ["\0", "\0\x03", "\0\x03\0", "\0\x03\0\x01", "\0\x0a\0\x02xx"] {
            assert_eq!(read(cut.as_bytes()), Err(BadOptions), "{cut:?}");
        }
    }
}
