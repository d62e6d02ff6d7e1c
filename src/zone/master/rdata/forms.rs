//! The types whose data is read here, field by field: those that `domain` does not read, those where it reads
//! fewer forms than other servers (names of algorithms, times such as `1h`), and those where it accepts data
//! that cannot be right (a digest of two bytes).
//!
//! SIG and NXT are obsolete, and A6, ATMA and UNSPEC never came into use. They are read in the form of RFC 3597
//! only.

use domain::base::iana::Rtype;

use super::fields::Field::{
    Base64, Coded, Hex, MaybeBase64, MaybeText, Name, Number, Own, Text, Texts, Time, Type, Types,
};
use super::fields::{Field, Words};
use super::{addresses, digests, location, old, prefixes, service};

/// The algorithms of DNSSEC (RFC 8624 §3.1, and the registry for older names).
const ALGORITHMS: Words = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("NSEC3DSA", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("NSEC3RSASHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECCGOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];
/// RFC 4398 §2.1.
const CERTIFICATES: Words = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];
/// RFC 9859 §6.2.
const SCHEMES: Words = &[("NOTIFY", 1)];

const ALGORITHM: Field = Coded("algorithm", 1, ALGORITHMS);
const PREFERENCE: Field = Number("preference", 2);

/// RFC 4034 §5.1.
const DS: &[Field] = &[Number("key tag", 2), ALGORITHM, Own(&digests::OF_KEY)];
/// RFC 4034 §2.1.
const DNSKEY: &[Field] = &[
    Number("flags", 2),
    Number("protocol", 1),
    ALGORITHM,
    Base64("public key"),
];
/// RFC 6698 §2.1.
const TLSA: &[Field] = &[
    Number("certificate usage", 1),
    Number("selector", 1),
    Number("matching type", 1),
    Hex("certificate association data"),
];
const TEXTS: &[Field] = &[Texts("text")];

/// The fields of a type's data; none if `domain` reads it, or if it is read in the form of RFC 3597 only.
pub(super) fn of(rtype: Rtype) -> Option<&'static [Field]> {
    Some(match rtype {
        // RFC 1035 §3.3.13; times may have units, as for BIND, Knot and NSD.
        Rtype::SOA => &[
            Name("primary server"),
            Name("mailbox"),
            Number("serial", 4),
            Time("refresh interval"),
            Time("retry interval"),
            Time("expire interval"),
            Time("minimum"),
        ],
        // RFC 4034, RFC 7344, RFC 4431; TA remained a draft.
        Rtype::DS | Rtype::CDS | Rtype::DLV | Rtype::TA => DS,
        Rtype::DNSKEY | Rtype::CDNSKEY => DNSKEY,
        // RFC 2535 §3.1: flags can say that there is no key.
        Rtype::KEY => &[
            Number("flags", 2),
            Number("protocol", 1),
            ALGORITHM,
            MaybeBase64("public key"),
        ],
        Rtype::RKEY => DNSKEY,
        // RFC 6698, RFC 8162, RFC 4255
        Rtype::TLSA | Rtype::SMIMEA => TLSA,
        Rtype::SSHFP => &[Number("algorithm", 1), Own(&digests::FINGERPRINT)],
        // RFC 9460
        Rtype::SVCB | Rtype::HTTPS => &[
            Number("priority", 2),
            Name("target"),
            Own(&service::PARAMETERS),
        ],
        // RFC 4398
        Rtype::CERT => &[
            Coded("certificate type", 2, CERTIFICATES),
            Number("key tag", 2),
            ALGORITHM,
            Base64("certificate"),
        ],
        // RFC 4701
        Rtype::DHCID => &[Base64("identifier")],
        // RFC 9374, RFC 9575
        Rtype::HHIT | Rtype::BRID => &[Base64("data")],
        // RFC 7477
        Rtype::CSYNC => &[Number("serial", 4), Number("flags", 2), Types],
        // RFC 9859
        Rtype::DSYNC => &[
            Type("type"),
            Coded("scheme", 1, SCHEMES),
            Number("port", 2),
            Name("target"),
        ],
        // RFC 1876, RFC 3123
        Rtype::LOC => &[Own(&location::LOC)],
        Rtype::APL => &[Own(&prefixes::APL)],
        // RFC 6742
        Rtype::NID => &[PREFERENCE, Own(&addresses::GROUPS)],
        Rtype::L64 => &[PREFERENCE, Own(&addresses::GROUPS)],
        Rtype::L32 => &[PREFERENCE, Own(&addresses::IPV4)],
        // RFC 7043
        Rtype::EUI48 => &[Own(&addresses::EUI48)],
        Rtype::EUI64 => &[Own(&addresses::EUI64)],
        // RFC 8005, RFC 8777
        Rtype::HIP => &[Own(&addresses::HIP)],
        Rtype::AMTRELAY => &[Own(&addresses::AMTRELAY)],
        // RFC 7553
        Rtype::URI => &[
            Number("priority", 2),
            Number("weight", 2),
            Own(&addresses::URI),
        ],
        // Only names: RFC 1183, RFC 2230, RFC 6742, RFC 2163, RFC 1706.
        Rtype::AFSDB => &[Number("subtype", 2), Name("host")],
        Rtype::RT | Rtype::KX | Rtype::LP => &[PREFERENCE, Name("host")],
        Rtype::PX => &[PREFERENCE, Name("RFC 822 domain"), Name("X.400 domain")],
        Rtype::NSAPPTR => &[Name("name")],
        Rtype::TALINK => &[Name("previous name"), Name("next name")],
        // Only strings: RFC 7208, RFC 9606, and types of the IANA registry.
        Rtype::SPF | Rtype::AVC | Rtype::NINFO | Rtype::RESINFO | Rtype::WALLET => TEXTS,
        Rtype::CLA => TEXTS,
        // RFC 1183 §3, RFC 1712
        Rtype::X25 => &[Own(&old::X25)],
        Rtype::ISDN => &[Text("address"), MaybeText("subaddress")],
        Rtype::GPOS => &[Text("longitude"), Text("latitude"), Text("altitude")],
        // RFC 1706, RFC 1035 §3.4.2
        Rtype::NSAP => &[Own(&old::NSAP)],
        Rtype::WKS => &[Own(&old::WKS)],
        Rtype::EID | Rtype::NIMLOC => &[Hex("data")],
        Rtype::SINK => &[
            Number("meaning", 1),
            Number("coding", 1),
            Number("subcoding", 1),
            MaybeBase64("data"),
        ],
        Rtype::DOA => &[
            Number("enterprise", 4),
            Number("type", 4),
            Number("location", 1),
            Text("media type"),
            Own(&old::DOA_DATA),
        ],
        _ => return None,
    })
}
