//! Defects of zones: a message for each, `file:line:column: what is wrong`.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::base::iana::Rtype;
use hickory_proto::rr::RecordType;

pub use super::master::template::GenerateProblem;
pub use crate::base::name::NameProblem;
use crate::base::name::{Shown, ZoneName};
use crate::link::{CodeError, OriginError};

/// The most errors, and the most warnings, that a load reports; a file that is not a zone file has one in each
/// line.
pub(super) const MAX_DIAGNOSTICS: usize = 100;

/// A defect at a place in a file. It is an error or a warning, depending on the list that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The zone file, or the file included there.
    pub file: Arc<Path>,
    /// The line, from 1; none where the whole file is meant.
    pub line: Option<u32>,
    /// The column in bytes, from 1, where it is known.
    pub column: Option<u32>,
    /// What is wrong.
    pub defect: Defect,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", OneLine(self.file.display()))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        write!(f, ": {}", OneLine(&self.defect))
    }
}

/// Shows a value with its control characters escaped: messages repeat fields, and a quoted field may contain line
/// breaks and escape sequences for terminals.
struct OneLine<T>(T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Why zones were not loaded: all errors, at least one.
#[derive(Clone, Debug)]
pub struct LoadError {
    /// In the order of the files and their lines.
    pub errors: Vec<Diagnostic>,
}

impl std::error::Error for LoadError {}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    // Reading the file.
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// A directory, a device, a pipe.
    #[error("this is not a regular file")]
    NotAFile,
    /// The zone's files together are too large.
    #[error("the zone's files have more than {0} bytes together")]
    TooLarge(u64),
    /// Too many records.
    #[error("the zone has more than {0} records")]
    TooManyRecords(usize),
    /// Too many names.
    #[error("the zone has more than {0} names, including empty non-terminals")]
    TooManyNames(usize),
    /// `$INCLUDE` of a file that cannot be read.
    #[error("the included file {} cannot be read: {why}", file.display())]
    Include {
        /// The path, relative to the server's working directory if it is not absolute.
        file: PathBuf,
        /// The system's message.
        why: String,
    },
    /// A file that includes itself, directly or through others.
    #[error("{} includes itself", .0.display())]
    IncludeCycle(PathBuf),
    /// Included files that include further files.
    #[error("$INCLUDE is nested more than {0} levels deep")]
    IncludeDepth(usize),
    /// Too many `$INCLUDE` directives.
    #[error("the zone includes files more than {0} times")]
    TooManyIncludes(usize),

    // Text.
    /// A field that is longer than any record.
    #[error("the field has more than {0} bytes")]
    LongToken(usize),
    /// A character that is not allowed there.
    #[error("{}", bad_byte(*.0))]
    BadByte(u8),
    /// A backslash that begins no escape.
    #[error("a backslash must be followed by one character or a number from 000 to 255")]
    BadEscape,
    /// An opening quote without a closing one in the same line.
    #[error("the quote that opens here is not closed in its line; write a line break as \\010")]
    UnclosedQuote,
    /// An opening parenthesis without a closing one.
    #[error("the parenthesis that opens here is never closed")]
    UnclosedParenthesis,
    /// A closing parenthesis without an opening one.
    #[error("unmatched \")\"")]
    UnopenedParenthesis,
    /// Too many tokens.
    #[error("the entry has more than {0} fields")]
    LongEntry(usize),
    /// A directive that RFC 1035 and RFC 2308 do not have.
    #[error("the directive {0} is not supported, only $ORIGIN, $TTL, $INCLUDE and $GENERATE")]
    UnknownDirective(String),
    /// `$ORIGIN` without a name, and so on.
    #[error("{directive} needs {needs}")]
    Directive {
        /// Its name.
        directive: &'static str,
        /// The field that must follow it.
        needs: &'static str,
    },
    /// A field behind the end of a directive.
    #[error("unexpected {0:?} behind the directive")]
    Trailing(String),
    /// A `$GENERATE` that makes no record.
    #[error("{0}")]
    Generate(GenerateProblem),
    /// A record that a `$GENERATE` makes.
    #[error("with {number} for $: {defect}")]
    Generated {
        /// The number.
        number: u32,
        /// The defect of the record.
        defect: Box<Defect>,
    },
    /// An indented line before any owner.
    #[error("the line begins with a blank, but no line before it has an owner")]
    NoOwner,
    /// Not a name.
    #[error("{0:?} is not a name: {1}")]
    Name(String, NameProblem),
    /// The record ends before its type.
    #[error("the record has no type")]
    NoType,
    /// A field that is neither a class, a TTL nor a type.
    #[error("{0:?} is not a record type")]
    UnknownType(String),
    /// A class other than IN.
    #[error("the class {0} is not served, only IN")]
    Class(String),
    /// Two classes or two TTLs.
    #[error("the record has two {0}")]
    Twice(&'static str),
    /// Not a time.
    #[error("{0:?} is not a time in seconds")]
    BadTtl(String),
    /// RFC 2181 §8.
    #[error("the TTL {0} is more than 2147483647 (RFC 2181 §8)")]
    LongTtl(u32),
    /// A record without a TTL, where no default is known.
    #[error("the record has no TTL, and neither $TTL nor an earlier record sets one")]
    NoTtl,
    /// The data of a record.
    #[error("bad {} data: {why}", mnemonic(*.rtype))]
    Rdata {
        /// The type of the record.
        rtype: RecordType,
        /// Why its data is wrong.
        why: Box<str>,
    },
    /// Longer than RDLENGTH can express.
    #[error("the data has {0} bytes; at most 65535 fit a record")]
    LongRdata(usize),
    /// A type that exists only in messages.
    #[error("{} exists only in queries and messages; a zone cannot have it", mnemonic(*.0))]
    MetaType(RecordType),
    /// Signatures and denial records.
    #[error("{} belongs to a signed zone; use the unsigned file, and let tinyns sign it ([zone.dnssec]){}", mnemonic(*.rtype), and_more(*.more))]
    SigningType {
        /// The type.
        rtype: RecordType,
        /// How many further records have it.
        more: usize,
    },

    // The zone as a whole.
    /// Another zone has this origin.
    #[error("the configuration has another zone {0}")]
    SameOrigin(ZoneName),
    /// It would take the names of the links of another zone.
    #[error(
        "there can be no zone {origin}: that name is the redirect host of {links}, whose links are below it"
    )]
    AtRedirectHost {
        /// Its origin.
        origin: ZoneName,
        /// The origin of the other zone.
        links: ZoneName,
    },
    /// The origin is a name that cannot stand in URLs.
    #[error(
        "{0}; the name of a zone that holds links may have only letters, digits, hyphens and underscores, because it stands in URLs, and must leave room for a code"
    )]
    LinkOrigin(OriginError),
    /// `redirect_host` is not one lower-case label.
    #[error("redirect_host {0:?} must be one label in lower case")]
    RedirectHostCase(Box<str>),
    /// `redirect_host` is not a label that a host can have.
    #[error("redirect_host {0:?} is not a label that a host can have: {1}")]
    RedirectHost(Box<str>, CodeError),
    /// A code would not fit in front of the redirect host.
    #[error("{redirect_host}.{origin} leaves no room for a code of 63 bytes (RFC 1035 §2.3.4)")]
    NoRoomForCodes {
        /// The label.
        redirect_host: Box<str>,
        /// The zone.
        origin: ZoneName,
    },
    /// A name of another zone.
    #[error("{owner} is outside of the zone {origin}")]
    OutOfZone {
        /// The owner of the record.
        owner: Box<Shown>,
        /// The zone.
        origin: ZoneName,
    },
    /// RFC 1035 §5.2.
    #[error("the zone {0} has no SOA record")]
    NoSoa(ZoneName),
    /// RFC 1035 §5.2.
    #[error("the zone has another SOA record already (RFC 1035 §5.2)")]
    SecondSoa,
    /// An SOA below the apex.
    #[error("{0} has an SOA record, but is not the apex of the zone")]
    SoaBelowApex(Box<Shown>),
    /// A zone without name servers.
    #[error("the zone {0} has no NS record at its apex")]
    NoNs(ZoneName),
    /// RFC 2181 §10.1.
    #[error("{owner} has a CNAME and also {} (RFC 2181 §10.1)", mnemonic(*.other))]
    CnameAndOther {
        /// The name.
        owner: Box<Shown>,
        /// One of its other types.
        other: RecordType,
    },
    /// RFC 2181 §10.1, RFC 6672 §2.4.
    #[error("{owner} has a second {}; only one is allowed", mnemonic(*.rtype))]
    Second {
        /// The name.
        owner: Box<Shown>,
        /// CNAME or DNAME.
        rtype: RecordType,
    },
    /// RFC 6672 §2.4.
    #[error("{owner} is below the DNAME of {dname} (RFC 6672 §2.4)")]
    BelowDname {
        /// The name below.
        owner: Box<Shown>,
        /// The owner of the DNAME.
        dname: Box<Shown>,
    },
    /// RFC 4592 §4.2 and §4.4 do not define the meaning of these.
    #[error("the wildcard {owner} cannot have {} (RFC 4592 §4)", mnemonic(*.rtype))]
    WildcardType {
        /// The wildcard.
        owner: Box<Shown>,
        /// NS or DNAME.
        rtype: RecordType,
    },
    /// More data than a message can carry.
    #[error("the {} records of {owner} take up to {bytes} bytes; a message has room for {max}", mnemonic(*.rtype))]
    LargeRrset {
        /// The name.
        owner: Box<Shown>,
        /// The type.
        rtype: RecordType,
        /// Their largest size, with names uncompressed, in bytes.
        bytes: usize,
        /// The largest size that fits, in bytes.
        max: usize,
    },
    /// A type that would leave no room for links below the redirect host.
    #[error("{owner} cannot have {}: the links of this zone are below it", mnemonic(*.rtype))]
    RedirectHostType {
        /// The redirect host's name, or the apex for DNAME.
        owner: Box<Shown>,
        /// CNAME, DNAME or NS.
        rtype: RecordType,
    },
    /// A type that would hide or replace the records of every link.
    #[error("{owner} cannot have {}: {}", mnemonic(*.rtype), template_reason(*.rtype))]
    TemplateType {
        /// The wildcard below the redirect host.
        owner: Box<Shown>,
        /// The type.
        rtype: RecordType,
    },

    // Additions.
    /// The zone file has the name of challenges.
    #[error("{owner} has {}, but [https.acme] answers this name itself: remove this name from the file", mnemonic(*.rtype))]
    ChallengeTaken {
        /// The name.
        owner: Box<Shown>,
        /// The type of its first record.
        rtype: RecordType,
    },
    /// A zone of the configuration is at the name of challenges of another.
    #[error(
        "there can be no zone {origin}: [https.acme] answers this name itself, for the certificates of {links}; remove this zone"
    )]
    ChallengeZone {
        /// Its origin.
        origin: ZoneName,
        /// The origin of the other zone.
        links: ZoneName,
    },
    /// RFC 8659 §4.2 and §4.3, RFC 8657.
    #[error(
        "the CAA records forbid a certificate for {name}: none with the property {tag} allows this issuer, account and method; add `CAA 0 {tag} \"{value}\"`, or remove the CAA records of the origin, and tinyns answers its own"
    )]
    CaaForbids {
        /// The name of the certificate.
        name: Box<str>,
        /// The property that decides.
        tag: &'static str,
        /// A value that allows the certificate.
        value: Box<str>,
    },
    /// RFC 8659 §4.1.
    #[error(
        "the CAA property {tag:?} is critical, and certificate authorities do not know it, so they issue no certificate for this zone (RFC 8659 §4.1); remove it or its flag 128"
    )]
    CaaCritical {
        /// The tag of the property.
        tag: Box<str>,
    },

    // Warnings.
    /// RFC 1035 §3.3.13, RFC 2308 §4.
    #[error(
        "the record has no TTL, and there is no $TTL; records without one get the SOA's minimum, {0} (RFC 1035 §3.3.13)"
    )]
    MinimumAsTtl(u32),
    /// Keys in a zone file, which cannot belong to signatures.
    #[error("{owner} has {} in the file, which has no effect: a zone without [zone.dnssec] is served unsigned, and for a zone with it tinyns makes these records", mnemonic(*.rtype))]
    Unsigned {
        /// The name.
        owner: Box<Shown>,
        /// DNSKEY, CDS or CDNSKEY.
        rtype: RecordType,
    },
    /// RFC 4035 §2.4.
    #[error("{0} has a DS record, but is not delegated by this zone (RFC 4035 §2.4)")]
    DsWithoutCut(Box<Shown>),
    /// RFC 2181 §10.3, RFC 2782.
    #[error("the {} of {owner} points to {target}, which is an alias (RFC 2181 §10.3)", mnemonic(*.rtype))]
    TargetIsAlias {
        /// The name.
        owner: Box<Shown>,
        /// MX or SRV.
        rtype: RecordType,
        /// The name that it points to.
        target: Box<Shown>,
    },
    /// RFC 2181 §10.3, RFC 6672 §2.3: names below a DNAME are aliases.
    #[error("the {} of {owner} points to {target}, which is below the DNAME of {dname} and therefore an alias (RFC 2181 §10.3)", mnemonic(*.rtype))]
    TargetBelowDname {
        /// The name.
        owner: Box<Shown>,
        /// NS, MX or SRV.
        rtype: RecordType,
        /// The name that it points to.
        target: Box<Shown>,
        /// The owner of the DNAME.
        dname: Box<Shown>,
    },
    /// RFC 2181 §5.2.
    #[error("the TTL {ttl} differs from that of the other {} records of {owner}; all get the lowest, {used} (RFC 2181 §5.2)", mnemonic(*.rtype))]
    TtlDiffers {
        /// The name.
        owner: Box<Shown>,
        /// The type.
        rtype: RecordType,
        /// The TTL of this record.
        ttl: u32,
        /// The TTL that all of them get.
        used: u32,
    },
    /// The same record twice.
    #[error("{owner} has this {} record already", mnemonic(*.rtype))]
    Duplicate {
        /// The name.
        owner: Box<Shown>,
        /// The type.
        rtype: RecordType,
    },
    /// Data at or below a zone cut that is not glue.
    #[error("{} of {owner} is not served: {cut} is delegated", mnemonic(*.rtype))]
    Occluded {
        /// The name.
        owner: Box<Shown>,
        /// The type.
        rtype: RecordType,
        /// The delegation.
        cut: Box<Shown>,
    },
    /// A name server in this zone without an address.
    #[error("the name server {0} is in this zone, but has no A or AAAA record in it")]
    NsWithoutAddress(Box<Shown>),
    /// Browsers would find no address for any link.
    #[error(
        "{0} has no A, AAAA or HTTPS record: browsers cannot follow the links of this zone; add the addresses of the redirect host"
    )]
    NoTemplate(Box<Shown>),
    /// RFC 1034 §4.3.5: "The serial […] always advances whenever any change is made to the zone".
    #[error(
        "the zone has changed and its serial has not; raise it above {0}, because other programs detect changes by it (RFC 1034 §4.3.5)"
    )]
    SerialUnchanged(u32),
    /// RFC 1982 §3.2.
    #[error(
        "the serial {is} is not higher than {was}, which the zone had before (RFC 1982 §3.2); raise it above {was}"
    )]
    SerialLowered {
        /// The serial of the zone that was served before.
        was: u32,
        /// The serial of the new zone.
        is: u32,
    },
    /// The list was cut at `MAX_DIAGNOSTICS`.
    #[error("there are {0} more like these")]
    More(usize),
}

/// The name of a type. Hickory cannot give it: it shows every type that it has no variant for as `Unknown`.
fn mnemonic(rtype: RecordType) -> String {
    match Rtype::from_int(rtype.into()) {
        // RFC 1706 §6; `domain` spells it without the hyphen.
        Rtype::NSAPPTR => "NSAP-PTR".into(),
        rtype => rtype.to_string(),
    }
}

fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" ({more} more records have this type)"),
    }
}

fn bad_byte(byte: u8) -> String {
    match byte {
        b'\r' => "unexpected carriage return within a line".into(),
        0x80.. => format!(
            "the byte 0x{byte:02X} can stand only in quotes; in a name use punycode, or \\{byte:03} for the byte"
        ),
        _ => format!("the byte 0x{byte:02X} can stand only in quotes; write it as \\{byte:03}"),
    }
}

fn template_reason(rtype: RecordType) -> &'static str {
    match rtype {
        RecordType::CNAME => "it would hide the links' own TXT and URI records (RFC 2181 §10.1)",
        _ => "it is the link's own record, made from its URL",
    }
}
