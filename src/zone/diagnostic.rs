//! What can be wrong with a zone, and where: one line for each thing, `file:line: what`.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::base::iana::Rtype;
use hickory_proto::rr::RecordType;

pub use super::master::GenerateProblem;
pub use crate::base::name::NameProblem;
use crate::base::name::{Shown, ZoneName};
use crate::link::{CodeError, OriginError};

/// The most diagnostics of one kind that a load reports; a file of the wrong sort has one a line.
pub(super) const MAX_DIAGNOSTICS: usize = 100;

/// Something wrong at a place in a file: an error or a warning, as the list that holds it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The zone file, or the file included there.
    pub file: Arc<Path>,
    /// The line, from 1; none where the whole file is meant.
    pub line: Option<u32>,
    /// The column in bytes, from 1, where it is known.
    pub column: Option<u32>,
    /// What is wrong.
    pub problem: Problem,
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
        write!(f, ": {}", OneLine(&self.problem))
    }
}

/// Something without its control characters: a quoted field may hold a line break or what a terminal obeys, and
/// messages repeat fields.
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

/// Why zones were not loaded: all errors that were found, at least one.
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
pub enum Problem {
    // Reading the file.
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    /// A directory, a device, a pipe.
    #[error("this is not a regular file")]
    NotAFile,
    /// The zone's files together are larger than we read.
    #[error("the zone's files have more than {0} bytes together")]
    TooLarge(u64),
    /// More records than we hold.
    #[error("the zone has more than {0} records")]
    TooManyRecords(usize),
    /// More names than we hold.
    #[error("the zone has more than {0} names, with those that are only on the way to others")]
    TooManyNames(usize),
    /// `$INCLUDE` of a file that cannot be read.
    #[error("the included file {} cannot be read: {why}", file.display())]
    Include {
        /// The path, seen from where the server runs.
        file: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A file that includes itself, over others or not.
    #[error("{} includes itself", .0.display())]
    IncludeCycle(PathBuf),
    /// Files that include files that include files.
    #[error("more than {0} files include one another")]
    IncludeDepth(usize),

    /// Files that include files many times.
    #[error("more than {0} files are included")]
    TooManyIncludes(usize),

    // Text.
    /// Too long for anything.
    #[error("the field has more than {0} bytes")]
    LongToken(usize),
    /// A character that cannot stand there.
    #[error("{}", bad_byte(*.0))]
    BadByte(u8),
    /// A backslash with nothing behind it that it could escape.
    #[error("after a backslash stands one character or a number from 000 to 255")]
    BadEscape,
    /// A quote without its other half in the same line.
    #[error("the quote that opens here is not closed in its line; a line break in a text is \\010")]
    UnclosedQuote,
    /// A parenthesis without its other half.
    #[error("the parenthesis that opens here is never closed")]
    UnclosedParenthesis,
    /// A parenthesis without its other half.
    #[error("there is no \"(\" to this \")\"")]
    UnopenedParenthesis,
    /// Too many tokens.
    #[error("the entry has more than {0} fields")]
    LongEntry(usize),
    /// A directive that RFC 1035 and RFC 2308 do not have.
    #[error("the directive {0} is not supported; there are $ORIGIN, $TTL, $INCLUDE and $GENERATE")]
    UnknownDirective(String),
    /// `$ORIGIN` without a name, and so on.
    #[error("{directive} needs {needs}")]
    Directive {
        /// Its name.
        directive: &'static str,
        /// What must follow it.
        needs: &'static str,
    },
    /// Something behind the end of a directive.
    #[error("{0:?} is left behind the directive")]
    Trailing(String),
    /// A `$GENERATE` that makes nothing.
    #[error("{0}")]
    Generate(GenerateProblem),
    /// A record that a `$GENERATE` makes.
    #[error("with {number} for $: {problem}")]
    Generated {
        /// The number.
        number: u32,
        /// What is wrong with the record.
        problem: Box<Problem>,
    },
    /// An indented line before any owner.
    #[error("the line begins with a blank, but there is no owner before it to take over")]
    NoOwner,
    /// Not a name.
    #[error("{0:?} is not a name: {1}")]
    Name(String, NameProblem),
    /// The record ends before its type.
    #[error("the record has no type")]
    NoType,
    /// Neither class, TTL nor type.
    #[error("{0:?} is not a record type")]
    UnknownType(String),
    /// Only the Internet has links.
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
    /// Nothing tells the TTL.
    #[error("the record has no TTL, and there is neither a $TTL nor a TTL before it")]
    NoTtl,
    /// The data of a record.
    #[error("bad {} data: {why}", mnemonic(*.rtype))]
    Rdata {
        /// The type of the record.
        rtype: RecordType,
        /// What is wrong with it.
        why: Box<str>,
    },
    /// More than RDLENGTH can tell.
    #[error("the data has {0} bytes; at most 65535 fit a record")]
    LongRdata(usize),
    /// Types that exist in messages alone.
    #[error("{} is for queries and messages; it cannot stand in a zone", mnemonic(*.0))]
    MetaType(RecordType),
    /// Signatures and their chain.
    #[error("{} is of a signed zone; give the file as it is before it is signed, and tinyns signs it ([zone.dnssec]){}", mnemonic(*.rtype), and_more(*.more))]
    SigningType {
        /// The type.
        rtype: RecordType,
        /// How many records more have it.
        more: usize,
    },

    // The zone as a whole.
    /// Another zone has this origin.
    #[error("there is another zone {0}")]
    SameOrigin(ZoneName),
    /// It takes the names of the links of another zone.
    #[error(
        "there can be no zone {origin}: it is the redirect host of {links}, whose links are below it"
    )]
    AtRedirectHost {
        /// Its origin.
        origin: ZoneName,
        /// The origin of the other zone.
        links: ZoneName,
    },
    /// The origin is a name that cannot stand in URLs.
    #[error(
        "{0}; a zone that holds links has letters, digits, hyphens and underscores only, because its names stand in URLs, and room for a code"
    )]
    LinkOrigin(OriginError),
    /// `redirect_host` is not one lower-case label.
    #[error("redirect_host {0:?} is not one label in lower case")]
    RedirectHostCase(Box<str>),
    /// `redirect_host` is not a label that a host can have.
    #[error("redirect_host {0:?} is not a host's label: {1}")]
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
        /// Whose record it is.
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
    #[error("{owner} has a second {}; there can be but one", mnemonic(*.rtype))]
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
    /// RFC 4592 §4.2 and §4.4 leave open what these would mean.
    #[error("the wildcard {owner} cannot have {} (RFC 4592 §4)", mnemonic(*.rtype))]
    WildcardType {
        /// The wildcard.
        owner: Box<Shown>,
        /// NS or DNAME.
        rtype: RecordType,
    },
    /// More than a message can carry.
    #[error("the {} records of {owner} take up to {bytes} bytes; a message has room for {max}", mnemonic(*.rtype))]
    LargeRrset {
        /// The name.
        owner: Box<Shown>,
        /// The type.
        rtype: RecordType,
        /// Their size at the most, names uncompressed.
        bytes: usize,
        /// The room.
        max: usize,
    },
    /// The redirect host leads elsewhere, so there is no room for links below it.
    #[error("{owner} cannot have {}: the links of this zone are below it", mnemonic(*.rtype))]
    RedirectHostType {
        /// The redirect host's name, or the apex for DNAME.
        owner: Box<Shown>,
        /// CNAME, DNAME or NS.
        rtype: RecordType,
    },
    /// The name of every link would lead elsewhere, or own what the link itself owns.
    #[error("{owner} cannot have {}: {}", mnemonic(*.rtype), template_reason(*.rtype))]
    TemplateType {
        /// The wildcard below the redirect host.
        owner: Box<Shown>,
        /// The type.
        rtype: RecordType,
    },

    // Warnings.
    /// RFC 1035 §3.3.13, RFC 2308 §4.
    #[error(
        "the record has no TTL, and there is no $TTL; records without one get the SOA's minimum, {0} (RFC 1035 §3.3.13)"
    )]
    MinimumAsTtl(u32),
    /// Keys without signatures.
    #[error("{owner} has {} in the file, which means nothing: a zone without [zone.dnssec] is served unsigned, and one with it has records of its own", mnemonic(*.rtype))]
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
    #[error("the {} of {owner} leads to {target}, which is an alias (RFC 2181 §10.3)", mnemonic(*.rtype))]
    TargetIsAlias {
        /// The name.
        owner: Box<Shown>,
        /// MX or SRV.
        rtype: RecordType,
        /// Where it leads.
        target: Box<Shown>,
    },
    /// RFC 2181 §10.3, RFC 6672 §2.3: what is below a DNAME is an alias.
    #[error("the {} of {owner} leads to {target}, which is below the DNAME of {dname}, and so an alias (RFC 2181 §10.3)", mnemonic(*.rtype))]
    TargetBelowDname {
        /// The name.
        owner: Box<Shown>,
        /// NS, MX or SRV.
        rtype: RecordType,
        /// Where it leads.
        target: Box<Shown>,
        /// The owner of the DNAME.
        dname: Box<Shown>,
    },
    /// RFC 2181 §5.2.
    #[error("the TTL {ttl} is not that of the other {} records of {owner}; they all get {used}, the lowest (RFC 2181 §5.2)", mnemonic(*.rtype))]
    TtlDiffers {
        /// The name.
        owner: Box<Shown>,
        /// The type.
        rtype: RecordType,
        /// The TTL of this record.
        ttl: u32,
        /// The TTL of them all.
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
    /// Data beyond a zone cut that is no glue.
    #[error("{} of {owner} is not served: {cut} is delegated", mnemonic(*.rtype))]
    Occluded {
        /// The name.
        owner: Box<Shown>,
        /// The type.
        rtype: RecordType,
        /// The delegation.
        cut: Box<Shown>,
    },
    /// A name server in this zone that nobody can reach.
    #[error("the name server {0} is in this zone, but has no address in it")]
    NsWithoutAddress(Box<Shown>),
    /// Browsers would find no address for any link.
    #[error("{0} has neither A, AAAA nor HTTPS: browsers cannot follow the links of this zone")]
    NoTemplate(Box<Shown>),
    /// RFC 1034 §4.3.5: "The serial […] always advances whenever any change is made to the zone".
    #[error(
        "the zone has changed and its serial has not; raise it above {0}, for that is what others go by (RFC 1034 §4.3.5)"
    )]
    SerialUnchanged(u32),
    /// RFC 1982 §3.2.
    #[error(
        "the serial {is} is not higher than {was}, which the zone had before (RFC 1982 §3.2); raise it above that"
    )]
    SerialLowered {
        /// That of the zone that was served.
        was: u32,
        /// That of the new one.
        is: u32,
    },
    /// The list was cut.
    #[error("there are {0} more like these")]
    More(usize),
}

/// The name of a type; hickory shows every type that it has no variant for as `Unknown`.
fn mnemonic(rtype: RecordType) -> String {
    match Rtype::from_int(rtype.into()) {
        // RFC 1706 §6; `domain` has it without the hyphen.
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
        b'\r' => "there is a carriage return that ends no line".into(),
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
