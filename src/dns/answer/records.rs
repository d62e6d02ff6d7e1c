//! Record data that tinyns makes itself: those of a link, challenges, and the alias of a DNAME.

use hickory_proto::rr::rdata::{NULL, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::link::{Link, Rank, TargetUrl};
use crate::zone::{Node, RrSet};

/// The type of URI records (RFC 7553), which hickory has no name for.
pub const URI: RecordType = RecordType::Unknown(256);

/// The longest character-string, in bytes (RFC 1035 §3.3).
const MAX_STRING: usize = 255;

/// The URL as TXT: character-strings of at most 255 bytes that are read as one (RFC 1035 §3.3.14). Of several URLs it is the
/// preferred one, so that all caches have the same.
pub fn txt(target: &TargetUrl) -> RData {
    RData::TXT(TXT::from_bytes(
        target.as_str().as_bytes().chunks(MAX_STRING).collect(),
    ))
}

/// A challenge as TXT. Values are shorter than a character-string can be.
pub fn challenge(value: &str) -> RData {
    RData::TXT(TXT::from_bytes(
        value.as_bytes().chunks(MAX_STRING).collect(),
    ))
}

/// One URI record for each destination of a link, in the order of preference.
pub fn uris(link: &Link) -> impl Iterator<Item = RData> {
    link.ranked().map(|(target, rank)| uri(target, rank))
}

/// The URL as URI: priority, weight and the target without a length in front (RFC 7553 §4).
fn uri(target: &TargetUrl, rank: Rank) -> RData {
    let target = target.as_str().as_bytes();
    let mut wire = Vec::with_capacity(4 + target.len());
    wire.extend(rank.priority.to_be_bytes());
    wire.extend(rank.weight.to_be_bytes());
    wire.extend(target);
    RData::Unknown {
        code: URI,
        rdata: NULL::with(wire),
    }
}

/// Data in wire form.
pub fn raw(rtype: RecordType, data: Vec<u8>) -> RData {
    RData::Unknown {
        code: rtype,
        rdata: NULL::with(data),
    }
}

/// The DNAME of a node, and its target. hickory knows the type but has its data as plain bytes; the zone loader has
/// checked that they are one uncompressed name.
pub fn dname_target(node: &Node) -> Option<(&RrSet, Name)> {
    let rrset = node.rrset(RecordType::DNAME)?;
    let RData::Unknown { rdata, .. } = rrset.rdata.first()? else {
        return None;
    };
    let target = Name::read(&mut BinDecoder::new(&rdata.anything)).ok()?;
    Some((rrset, target))
}

/// The first `kept` labels of `name` in front of `suffix`; none if that is longer than a name can
/// be (RFC 1035 §2.3.4).
pub fn replace_suffix(name: &Name, kept: usize, suffix: &Name) -> Option<Name> {
    let labels = name.iter().take(kept).chain(suffix.iter());
    let mut replaced = Name::from_labels(labels).ok()?;
    replaced.set_fqdn(true);
    Some(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(url: &str) -> Vec<usize> {
        let RData::TXT(txt) = txt(&TargetUrl::parse(url).unwrap()) else {
            panic!("not a TXT");
        };
        txt.txt_data.iter().map(|s| s.len()).collect()
    }

    #[test]
    fn rfc1035_3_3_14_strings_of_255_bytes() {
        let sized = |len: usize| format!("https://a.example/{}", "x".repeat(len - 18));
        assert_eq!(strings(&sized(255)), [255]);
        assert_eq!(strings(&sized(256)), [255, 1]);
        assert_eq!(
            strings(&sized(2_048)),
            [255, 255, 255, 255, 255, 255, 255, 255, 8]
        );
    }

    #[test]
    fn rfc7553_4_uri_has_no_length_before_its_target() {
        let target = TargetUrl::parse("https://a.example/").unwrap();
        let RData::Unknown { code, rdata } = uri(&target, Rank::default()) else {
            panic!("not raw data");
        };
        assert_eq!(u16::from(code), 256);
        assert_eq!(rdata.anything, b"\x00\x0a\x00\x01https://a.example/");
    }

    #[test]
    fn rfc6672_2_2_suffixes() {
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let replaced = replace_suffix(&name("a.B.old.example."), 2, &name("new.example."));
        assert_eq!(
            replaced.map(|n| n.to_ascii()).as_deref(),
            Some("a.B.new.example.")
        );
        let long = name(&format!("{}.", ["abcdefghi"; 25].join(".")));
        assert_eq!(replace_suffix(&name("a.bc.old.example."), 2, &long), None);
    }
}
