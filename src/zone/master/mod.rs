//! The reader of master files (RFC 1035 §5, RFC 2308 §4, RFC 3597 §5).
//!
//! ```text
//!   bytes -> lexer: entries of tokens -> this file: directives, owner, TTL, class, type -> rdata
//! ```
//!
//! After an error, reading goes on with the next entry, so one run shows all mistakes. No record is dropped
//! without an error.
//!
//! An included file is read with the origin, `$TTL` and last TTL at the place of the `$INCLUDE`, and changes none
//! of them for the lines behind it. RFC 1035 §5.1 requires this for the origin; anything else would be surprising
//! for the TTLs. An included file does not inherit the owner before it.
//!
//! `$GENERATE` is an extension of BIND that existing zone files use: see [`generate`].

mod generate;
mod lexer;
mod rdata;
pub(super) mod template;
mod ttl;
mod types;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::base::iana::Rtype;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, RecordType};

use self::lexer::{Entry, Lexer, Position, Token};
use super::diagnostic::{Defect, Diagnostic, MAX_DIAGNOSTICS};
use crate::base::files::{is_irregular, open_regular};
use crate::base::name::{NameProblem, text as name, wire};

/// The largest total size of the files of a zone, in bytes.
const MAX_ZONE_BYTES: u64 = 64 * 1024 * 1024;
/// The most records of one zone.
const MAX_RECORDS: usize = 1_000_000;
/// How deeply `$INCLUDE` may be nested.
const MAX_INCLUDE_DEPTH: usize = 8;
/// The most `$INCLUDE` directives of a zone. Empty files are limited by no other bound.
const MAX_INCLUDES: usize = 10_000;
/// The highest TTL, in seconds (RFC 2181 §8).
const MAX_TTL: u32 = (1 << 31) - 1;

/// A record and its place.
#[derive(Clone, Debug)]
pub(super) struct FileRecord {
    pub(super) owner: Name,
    pub(super) ttl: u32,
    pub(super) rdata: RData,
    pub(super) file: Arc<Path>,
    pub(super) line: u32,
}

impl FileRecord {
    /// A diagnostic at the line of this record.
    pub(super) fn diagnose(&self, defect: Defect) -> Diagnostic {
        Diagnostic {
            file: Arc::clone(&self.file),
            line: Some(self.line),
            column: None,
            defect,
        }
    }
}

/// The contents of the files of a zone.
#[derive(Debug, Default)]
pub(super) struct Master {
    /// In the order of the files.
    pub(super) records: Vec<FileRecord>,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
    /// Whether an error may hide a record that further checks need.
    pub(super) incomplete: bool,
}

/// Reads a zone from its file.
pub(super) fn read_file(file: &Path, origin: &[u8]) -> Master {
    let mut reader = ZoneReader::default();
    match reader.slurp(file) {
        Ok(text) => reader.read_root(file, &text, origin),
        Err(why) => {
            let defect = match why {
                Slurp::Io(why) => Defect::Unreadable(why),
                Slurp::Defect(defect) => defect,
            };
            reader.fail(Diagnostic {
                file: file.into(),
                line: None,
                column: None,
                defect,
            });
        }
    }
    reader.master
}

/// Reads a zone from text. Messages name it `file`, and included files are relative to that path.
pub(super) fn read_text(file: &Path, text: &[u8], origin: &[u8]) -> Master {
    let mut reader = ZoneReader::default();
    reader.read_root(file, text, origin);
    reader.master
}

/// Why a file was not read.
enum Slurp {
    Io(String),
    Defect(Defect),
}

/// The state that all files of a zone share.
#[derive(Default)]
struct ZoneReader {
    master: Master,
    bytes: u64,
    /// The files that are being read, the innermost last.
    open: Vec<PathBuf>,
    stopped: bool,
    /// How many files have been included.
    included: usize,
    /// The types of signed zones that the files contain, each with the place of its error and the number of
    /// further records. A signed zone is reported once for each type, not once for each record.
    signing: Vec<(RecordType, usize, usize)>,
}

/// The state of one file.
#[derive(Clone)]
struct Scope {
    file: Arc<Path>,
    /// In wire form.
    origin: Vec<u8>,
    /// The last `$TTL`.
    default_ttl: Option<u32>,
    /// The last TTL of a record.
    last_ttl: Option<u32>,
    last_owner: Option<Name>,
}

/// A defect in an entry, with its place; without a place, it is at the last token.
type EntryError = (Option<Position>, Defect);

impl ZoneReader {
    fn read_root(&mut self, file: &Path, text: &[u8], origin: &[u8]) {
        self.open.push(canonical(file));
        let scope = Scope {
            file: file.into(),
            origin: origin.to_vec(),
            default_ttl: None,
            last_ttl: None,
            last_owner: None,
        };
        self.read(text, scope);
        for &(rtype, place, more) in &self.signing {
            self.master.errors[place].defect = Defect::SigningType { rtype, more };
        }
    }

    /// Reads one file.
    fn read(&mut self, text: &[u8], mut scope: Scope) {
        let mut lexer = Lexer::new(text);
        while !self.stopped {
            match lexer.next_entry() {
                Ok(None) => return,
                Ok(Some(entry)) => self.entry(&entry, &mut scope),
                Err(error) => {
                    self.fail_at(&scope, error.place, error.defect);
                    if !error.go_on {
                        return;
                    }
                }
            }
        }
    }

    fn entry(&mut self, entry: &Entry, scope: &mut Scope) {
        let (Some(first), Some(last)) = (entry.tokens.first(), entry.tokens.last()) else {
            return;
        };
        let done = if !entry.indented && first.raw.starts_with(b"$") {
            self.directive(first, &entry.tokens[1..], scope)
        } else {
            self.record(entry, scope)
        };
        if let Err((place, defect)) = done {
            self.fail_at(scope, place.unwrap_or(last.place), defect);
        }
    }

    fn fail_at(&mut self, scope: &Scope, place: Position, defect: Defect) {
        self.fail(Diagnostic {
            file: Arc::clone(&scope.file),
            line: Some(place.line),
            column: Some(place.column),
            defect,
        });
    }

    fn fail(&mut self, error: Diagnostic) {
        match error.defect {
            // No further check needs a record of a refused type. Any other error may hide a record that one needs.
            Defect::MetaType(_) => {}
            Defect::SigningType { rtype, .. } => {
                let known = self.signing.iter_mut().find(|(other, ..)| *other == rtype);
                if let Some((_, _, more)) = known {
                    *more += 1;
                    return;
                }
                self.signing.push((rtype, self.master.errors.len(), 0));
            }
            _ => self.master.incomplete = true,
        }
        self.master.errors.push(error);
        if self.master.errors.len() >= MAX_DIAGNOSTICS {
            self.stopped = true;
        }
    }

    fn directive(
        &mut self,
        directive: &Token,
        fields: &[Token],
        scope: &mut Scope,
    ) -> Result<(), EntryError> {
        match directive.text().to_ascii_uppercase().as_str() {
            "$ORIGIN" => {
                let needs = needs("$ORIGIN", "a name");
                let [name] = exactly::<1>(fields, needs)?;
                scope.origin = read_name(name, scope)?;
            }
            // RFC 2308 §4
            "$TTL" => {
                let [time] = exactly::<1>(fields, needs("$TTL", "a time in seconds"))?;
                scope.default_ttl = Some(read_ttl(time)?);
            }
            "$INCLUDE" => {
                let needs = needs("$INCLUDE", "a file name");
                let (file, origin) = match fields {
                    [file, origin] => (file, read_name(origin, scope)?),
                    _ => (&exactly::<1>(fields, needs)?[0], scope.origin.clone()),
                };
                self.include(file, origin, scope)?;
            }
            "$GENERATE" => self.generate(fields, scope)?,
            _ => {
                let defect = Defect::UnknownDirective(directive.shown());
                return Err((Some(directive.place), defect));
            }
        }
        Ok(())
    }

    /// Reads the file that an `$INCLUDE` names, relative to the file it stands in.
    fn include(&mut self, token: &Token, origin: Vec<u8>, scope: &Scope) -> Result<(), EntryError> {
        let at = |defect| (Some(token.place), defect);
        let path = unquote(token).and_then(|path| String::from_utf8(path).ok());
        let path = path.ok_or_else(|| at(Defect::BadEscape))?;
        let directory = scope.file.parent().unwrap_or(Path::new(""));
        let path = directory.join(path);
        let key = canonical(&path);
        if self.open.contains(&key) {
            return Err(at(Defect::IncludeCycle(path)));
        }
        self.included += 1;
        if self.included > MAX_INCLUDES {
            self.stopped = true;
            return Err(at(Defect::TooManyIncludes(MAX_INCLUDES)));
        }
        if self.open.len() > MAX_INCLUDE_DEPTH {
            return Err(at(Defect::IncludeDepth(MAX_INCLUDE_DEPTH)));
        }
        let text = self.slurp(&path).map_err(|why| match why {
            Slurp::Io(why) => at(Defect::Include {
                file: path.clone(),
                why,
            }),
            Slurp::Defect(Defect::NotAFile) => at(Defect::Include {
                file: path.clone(),
                why: Defect::NotAFile.to_string(),
            }),
            Slurp::Defect(defect) => at(defect),
        })?;
        self.open.push(key);
        let inner = Scope {
            file: path.into(),
            origin,
            last_owner: None,
            ..scope.clone()
        };
        self.read(&text, inner);
        self.open.pop();
        Ok(())
    }

    /// Reads a file, up to what is left of the zone's bytes.
    fn slurp(&mut self, path: &Path) -> Result<Vec<u8>, Slurp> {
        let io = |error: std::io::Error| Slurp::Io(error.to_string());
        let room = MAX_ZONE_BYTES.saturating_sub(self.bytes);
        let mut text = Vec::new();
        let file = open_regular(path).map_err(|error| match is_irregular(&error) {
            true => Slurp::Defect(Defect::NotAFile),
            false => io(error),
        })?;
        file.take(room + 1).read_to_end(&mut text).map_err(io)?;
        self.count_bytes(text.len() as u64).map_err(Slurp::Defect)?;
        Ok(text)
    }

    /// Counts bytes of text with the others of the zone.
    fn count_bytes(&mut self, more: u64) -> Result<(), Defect> {
        self.bytes += more;
        if self.bytes > MAX_ZONE_BYTES {
            self.stopped = true;
            return Err(Defect::TooLarge(MAX_ZONE_BYTES));
        }
        Ok(())
    }

    /// Reads `[owner] [TTL] [class] type data`, TTL and class in either order (RFC 1035 §5.1).
    fn record(&mut self, entry: &Entry, scope: &mut Scope) -> Result<(), EntryError> {
        let mut fields = &entry.tokens[..];
        if !entry.indented {
            let (owner, rest) = fields.split_first().ok_or((None, Defect::NoType))?;
            // If this is not a name, indented lines below must not get the owner before it.
            scope.last_owner = None;
            let wire = read_name(owner, scope)?;
            let long = |_| Defect::Name(owner.shown(), NameProblem::LongName);
            let name = Name::from_labels(wire::labels(&wire));
            scope.last_owner = Some(name.map_err(|e| (Some(owner.place), long(e)))?);
            fields = rest;
        }
        let first_line = entry.tokens.first().map_or(0, |token| token.place.line);
        let (ttl, rtype, fields) = head(fields)?;
        scope.last_ttl = ttl.or(scope.last_ttl);
        // RFC 2308 §4, and RFC 1035 §5.1 where there is no $TTL.
        let ttl = ttl.or(scope.default_ttl).or(scope.last_ttl);
        let owner = scope.last_owner.clone().ok_or((
            entry.tokens.first().map(|token| token.place),
            Defect::NoOwner,
        ))?;
        let rdata = rdata::read(rtype, fields, &scope.origin)?;
        let ttl = match (ttl, &rdata) {
            (Some(ttl), _) => ttl,
            (None, RData::SOA(soa)) => self.minimum_as_ttl(soa, first_line, scope),
            (None, _) => return Err((None, Defect::NoTtl)),
        };
        if self.master.records.len() >= MAX_RECORDS {
            self.stopped = true;
            return Err((None, Defect::TooManyRecords(MAX_RECORDS)));
        }
        self.master.records.push(FileRecord {
            owner,
            ttl,
            rdata,
            file: Arc::clone(&scope.file),
            line: first_line,
        });
        Ok(())
    }

    /// The default TTL of a zone without `$TTL` and without a TTL of its SOA record: the MINIMUM field of the SOA
    /// record (RFC 1035 §3.3.13). BIND still reads such old files in this way.
    fn minimum_as_ttl(&mut self, soa: &SOA, line: u32, scope: &mut Scope) -> u32 {
        let ttl = soa.minimum.min(MAX_TTL);
        scope.default_ttl = Some(ttl);
        self.master.warnings.push(Diagnostic {
            file: Arc::clone(&scope.file),
            line: Some(line),
            column: None,
            defect: Defect::MinimumAsTtl(ttl),
        });
        ttl
    }
}

/// Reads TTL, class and type, and returns the tokens of the data with TTL and type.
fn head<'e, 't>(
    fields: &'e [Token<'t>],
) -> Result<(Option<u32>, Rtype, &'e [Token<'t>]), EntryError> {
    let mut time = None;
    let mut class = false;
    let mut rest = fields;
    while let Some((field, tail)) = rest.split_first() {
        let at = |defect| (Some(field.place), defect);
        let text = field.text();
        rest = tail;
        // A field that begins with a digit is a TTL: no type or class begins with one.
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            if time.replace(read_ttl(field)?).is_some() {
                return Err(at(Defect::Twice("TTLs")));
            }
        } else if let Some(is_internet) = class_of(&text) {
            if !is_internet {
                return Err(at(Defect::Class(field.shown())));
            }
            if std::mem::replace(&mut class, true) {
                return Err(at(Defect::Twice("classes")));
            }
        } else {
            let rtype =
                types::parse(&text).ok_or_else(|| at(Defect::UnknownType(field.shown())))?;
            check_type(rtype).map_err(at)?;
            return Ok((time, rtype, tail));
        }
    }
    Err((None, Defect::NoType))
}

/// Whether a text is the class IN; none if it is not a class.
fn class_of(text: &str) -> Option<bool> {
    let text = text.to_ascii_uppercase();
    match text.as_str() {
        "IN" => Some(true),
        "CH" | "HS" | "CS" | "NONE" => Some(false),
        // RFC 3597 §5
        _ => {
            let number: u16 = text.strip_prefix("CLASS")?.parse().ok()?;
            Some(number == 1)
        }
    }
}

/// Refuses types that are not allowed in zone files.
fn check_type(rtype: Rtype) -> Result<(), Defect> {
    let shown = rdata::to_record_type(rtype);
    match rtype {
        Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM => Err(Defect::SigningType {
            rtype: shown,
            more: 0,
        }),
        // RFC 1035 §3.3.10: "NULL RRs are not allowed in master files."
        Rtype::NULL | Rtype::OPT => Err(Defect::MetaType(shown)),
        _ => match rtype.to_int() {
            // RFC 6895 §3.1: 0 and 65535 are reserved, 128 to 255 are question and meta types.
            0 | 128..=255 | 65_535 => Err(Defect::MetaType(shown)),
            _ => Ok(()),
        },
    }
}

fn read_name(token: &Token, scope: &Scope) -> Result<Vec<u8>, EntryError> {
    name::parse(token.raw, &scope.origin)
        .map_err(|why| (Some(token.place), Defect::Name(token.shown(), why)))
}

fn read_ttl(token: &Token) -> Result<u32, EntryError> {
    match ttl::parse(token.raw) {
        Some(ttl) if ttl <= MAX_TTL => Ok(ttl),
        Some(ttl) => Err((Some(token.place), Defect::LongTtl(ttl))),
        None => Err((Some(token.place), Defect::BadTtl(token.shown()))),
    }
}

fn needs(directive: &'static str, needs: &'static str) -> Defect {
    Defect::Directive { directive, needs }
}

/// The fields of a directive, if their number is right.
fn exactly<'e, 't, const N: usize>(
    fields: &'e [Token<'t>],
    missing: Defect,
) -> Result<&'e [Token<'t>; N], EntryError> {
    if let Some(extra) = fields.get(N) {
        return Err((Some(extra.place), Defect::Trailing(extra.shown())));
    }
    fields.try_into().map_err(|_| (None, missing))
}

/// The bytes that a token stands for, without its quotes and escapes; none if an escape is wrong, or if quotes
/// enclose only a part of it.
fn unquote(token: &Token) -> Option<Vec<u8>> {
    unquote_bytes(token.raw)
}

fn unquote_bytes(raw: &[u8]) -> Option<Vec<u8>> {
    let mut rest = match raw.strip_prefix(b"\"") {
        Some(inner) => inner.strip_suffix(b"\"")?,
        None => raw,
    };
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match byte {
            b'\\' => name::unescape(tail)?,
            b'"' => return None,
            byte => (byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    Some(bytes)
}

/// The canonical path of a file; the path itself if there is no such file.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.into())
}
