//! CAA records (RFC 8659) with the parameters of RFC 8657: whether those of a zone file allow an issuer to issue.
//!
//! The records at the origin are the relevant ones for the origin and for the wildcard below it (RFC 8659 §3): a
//! certificate authority asks for CAA records at the name without `*.` first, and at names above only if there are
//! none.

use hickory_proto::rr::{LowerName, RData};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::diagnostic::{Defect, Diagnostic};
use super::master::FileRecord;
use crate::base::name::Shown;

/// Who may issue certificates (RFC 8659 §4.2).
pub(super) const ISSUE: &str = "issue";
/// Who may issue certificates with a wildcard, if that is not who may issue others (RFC 8659 §4.3).
pub(super) const ISSUEWILD: &str = "issuewild";
/// Properties that do not restrict the certificates of web servers: RFC 8659 §4.4, RFC 9495, and the Baseline
/// Requirements of the CA/Browser Forum, appendix A.1.
const HARMLESS: [&str; 4] = ["iodef", "issuemail", "contactemail", "contactphone"];
/// The bit of the flags that forbids issuers to ignore a property (RFC 8659 §4.1).
const CRITICAL: u8 = 0x80;
/// The name of the challenge by DNS (RFC 8555 §9.7.8), as RFC 8657 §4 uses it.
const METHOD: &str = "dns-01";
/// The longest identity of an issuer: a domain name (RFC 1035 §2.3.4).
const MAX_ISSUER_LEN: usize = 253;
/// The longest URI of an account, in bytes. Those of public certificate authorities have less than 100.
const MAX_ACCOUNT_URI_LEN: usize = 1_024;

/// The issuer and the account that order the certificates of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaaAddition {
    issuers: Box<[Box<str>]>,
    account_uri: Box<str>,
}

impl CaaAddition {
    /// The names by which the issuer knows itself in CAA records (`caaIdentities`, RFC 8555 §7.1.1), the first of
    /// which goes into the records, and the URI of the account. None if there is no name, or if a name or the URI
    /// cannot stand in a CAA record (RFC 8659 §4.2).
    pub fn new<'i>(issuers: impl IntoIterator<Item = &'i str>, account_uri: &str) -> Option<Self> {
        let issuers: Box<[Box<str>]> = issuers.into_iter().map(Into::into).collect();
        let is_valid = !issuers.is_empty()
            && issuers.iter().all(|name| is_issuer(name))
            && (1..=MAX_ACCOUNT_URI_LEN).contains(&account_uri.len())
            && is_parameter_value(account_uri);
        is_valid.then(|| Self {
            issuers,
            account_uri: account_uri.into(),
        })
    }

    /// The value of an `issue` property that allows this account alone, by DNS-01 alone (RFC 8657 §3 and §4).
    pub(super) fn issue_value(&self) -> String {
        let issuer = self.issuers.first().map_or("", |name| name);
        let account = &self.account_uri;
        format!("{issuer}; accounturi={account}; validationmethods=dns-01")
    }
}

/// A property of a CAA record.
struct Property<'r> {
    record: &'r FileRecord,
    flags: u8,
    /// In lower case: tags are matched without regard to case (RFC 8659 §4.1).
    tag: String,
    value: Vec<u8>,
}

impl<'r> Property<'r> {
    fn of(record: &'r FileRecord) -> Option<Self> {
        let wire = wire(&record.rdata)?;
        let (&[flags, len], rest) = wire.split_first_chunk()?;
        let (tag, value) = rest.split_at_checked(len.into())?;
        Some(Self {
            record,
            flags,
            tag: String::from_utf8_lossy(tag).to_ascii_lowercase(),
            value: value.to_vec(),
        })
    }

    fn is_unknown(&self) -> bool {
        let known = [ISSUE, ISSUEWILD].into_iter().chain(HARMLESS);
        known.into_iter().all(|tag| tag != self.tag)
    }

    /// Whether it allows this account to get certificates by DNS-01.
    fn allows(&self, wanted: &CaaAddition) -> bool {
        let value = std::str::from_utf8(&self.value).ok();
        // RFC 8659 §4.2: a value that does not follow the grammar allows no issuer.
        let Some((issuer, parameters)) = value.and_then(read_issue_value) else {
            return false;
        };
        let is_issuer = |name: &str| name.eq_ignore_ascii_case(issuer);
        if !wanted.issuers.iter().any(|name| is_issuer(name)) {
            return false;
        }
        let of = |tag: &str| {
            let same = parameters.iter();
            let same = same.filter(|(name, _)| name.eq_ignore_ascii_case(tag));
            same.map(|(_, value)| *value).collect::<Vec<_>>()
        };
        // RFC 8657 §3 and §4: a parameter that is given twice cannot be satisfied.
        let account = match of("accounturi")[..] {
            [] => true,
            [uri] => uri == &*wanted.account_uri,
            _ => false,
        };
        let method = match of("validationmethods")[..] {
            [] => true,
            [methods] => methods.split(',').any(|method| method == METHOD),
            _ => false,
        };
        account && method
    }
}

/// Why these CAA records of a zone file at the origin forbid certificates for the origin, or for the wildcard below
/// it. Empty if they allow both, or if there are none.
pub(super) fn refusals(
    records: &[FileRecord],
    origin: &LowerName,
    wanted: &CaaAddition,
) -> Vec<Diagnostic> {
    let properties = records.iter().filter_map(Property::of);
    let properties: Vec<_> = properties.collect();
    let critical = |property: &&Property<'_>| property.flags & CRITICAL != 0;
    let unknown = properties.iter().filter(critical);
    let unknown = unknown.filter(|property| property.is_unknown());
    let unknown = unknown.map(|property| {
        property.record.diagnose(Defect::CaaCritical {
            tag: property.tag.as_str().into(),
        })
    });
    let mut found: Vec<Diagnostic> = unknown.collect();
    let with = |tag: &'static str| properties.iter().filter(move |p| p.tag == tag);
    let wildcards = match with(ISSUEWILD).next() {
        // RFC 8659 §4.3: for wildcards, issuewild takes precedence over issue.
        Some(_) => ISSUEWILD,
        None => ISSUE,
    };
    let origin = Shown::from(origin);
    for (tag, name) in [
        (ISSUE, format!("{origin}")),
        (wildcards, format!("*.{origin}")),
    ] {
        // RFC 8659 §4.2: without a property, everybody may issue.
        let Some(first) = with(tag).next() else {
            continue;
        };
        if !with(tag).any(|property| property.allows(wanted)) {
            found.push(first.record.diagnose(Defect::CaaForbids {
                name: name.into(),
                tag,
                value: wanted.issue_value().into(),
            }));
        }
    }
    found
}

/// Whether a text can be the name of an issuer in a property: an `issuer-domain-name` of RFC 8659 §4.2.
fn is_issuer(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_end = |end: Option<char>| end.is_some_and(|c| c.is_ascii_alphanumeric());
        let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        is_end(label.chars().next())
            && is_end(label.chars().next_back())
            && label.chars().all(is_inner)
    };
    text.len() <= MAX_ISSUER_LEN && text.split('.').all(is_label)
}

/// Whether a text can be the value of a parameter: `*(%x21-3A / %x3C-7E)` (RFC 8659 §4.2).
fn is_parameter_value(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b';')
}

/// The issuer, which may be empty, and the parameters of an `issue` or `issuewild` property; none if the value does
/// not follow the grammar of RFC 8659 §4.2.
fn read_issue_value(value: &str) -> Option<(&str, Vec<(&str, &str)>)> {
    let (issuer, parameters) = match value.split_once(';') {
        Some((issuer, parameters)) => (issuer, trim(parameters)),
        None => (value, ""),
    };
    let issuer = trim(issuer);
    if !issuer.is_empty() && !is_issuer(issuer) {
        return None;
    }
    let mut all = Vec::new();
    if !parameters.is_empty() {
        // A semicolon after the last parameter is not in the grammar, but issuers accept it.
        let parameters = parameters.strip_suffix(';').unwrap_or(parameters);
        for parameter in parameters.split(';') {
            let (tag, value) = parameter.split_once('=')?;
            let (tag, value) = (trim(tag), trim(value));
            if tag.is_empty() || tag.contains([' ', '\t']) || !is_parameter_value(value) {
                return None;
            }
            all.push((tag, value));
        }
    }
    Some((issuer, all))
}

/// Without white space at the ends.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The data in wire form.
fn wire(rdata: &RData) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    let mut encoder = BinEncoder::new(&mut wire);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    rdata.emit(&mut encoder).ok()?;
    Some(wire)
}
