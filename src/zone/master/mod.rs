//! The reader of master files (RFC 1035 §5, RFC 2308 §4, RFC 3597 §5).
//!
//! ```text
//!   bytes -> lexer: entries of tokens -> here: directives, owner, TTL, class, type -> rdata
//! ```
//!
//! A record that is wrong costs an error and nothing more: reading goes on with the next entry, so
//! that one run shows all mistakes. Nothing is dropped in silence.
//!
//! An included file is read with the origin, `$TTL` and last TTL of the place that includes it, and
//! changes none of them there; RFC 1035 §5.1 says so of the origin, and the rest would surprise. It
//! does not take over the owner before it.
//!
//! `$GENERATE` is BIND's own, but files that users bring have it: see [`generate`].

mod generate;
mod lexer;
mod rdata;
mod template;
mod ttl;
mod types;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::base::iana::Rtype;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, RecordType};

pub use template::GenerateProblem;

use self::lexer::{Entry, Lexer, Position, Token};
use super::diagnostic::{Diagnostic, MAX_DIAGNOSTICS, Problem};
use crate::base::files::{is_irregular, open_regular};
use crate::base::name::{NameProblem, text as name, wire};

/// The most bytes that the files of one zone have together.
const MAX_ZONE_BYTES: u64 = 64 * 1024 * 1024;
/// The most records of one zone.
const MAX_RECORDS: usize = 1_000_000;
/// How many files may be open within one another.
const MAX_INCLUDE_DEPTH: usize = 8;
/// How often files are included: those without a byte count with no other bound.
const MAX_INCLUDES: usize = 10_000;
/// The highest TTL, in seconds (RFC 2181 §8).
const MAX_TTL: u32 = (1 << 31) - 1;

/// A record and where it stands.
#[derive(Clone, Debug)]
pub(super) struct FileRecord {
    pub(super) owner: Name,
    pub(super) ttl: u32,
    pub(super) rdata: RData,
    pub(super) file: Arc<Path>,
    pub(super) line: u32,
}

impl FileRecord {
    /// Says of this record that something is wrong with it.
    pub(super) fn diagnose(&self, problem: Problem) -> Diagnostic {
        Diagnostic {
            file: Arc::clone(&self.file),
            line: Some(self.line),
            column: None,
            problem,
        }
    }
}

/// What the files of a zone hold.
#[derive(Debug, Default)]
pub(super) struct Master {
    /// In the order of the files.
    pub(super) records: Vec<FileRecord>,
    pub(super) errors: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
    /// Whether a record was not understood, so that it may be missing elsewhere.
    pub(super) incomplete: bool,
}

/// Reads a zone from its file.
pub(super) fn read_file(file: &Path, origin: &[u8]) -> Master {
    let mut reader = ZoneReader::default();
    match reader.slurp(file) {
        Ok(text) => reader.read_root(file, &text, origin),
        Err(why) => {
            let problem = match why {
                Slurp::Io(why) => Problem::Unreadable(why),
                Slurp::Problem(problem) => problem,
            };
            reader.fail(Diagnostic {
                file: file.into(),
                line: None,
                column: None,
                problem,
            });
        }
    }
    reader.master
}

/// Reads a zone from text; `file` is its name in messages, and includes are relative to it.
pub(super) fn read_text(file: &Path, text: &[u8], origin: &[u8]) -> Master {
    let mut reader = ZoneReader::default();
    reader.read_root(file, text, origin);
    reader.master
}

/// Why a file was not read.
enum Slurp {
    Io(String),
    Problem(Problem),
}

/// The state that lasts over all files of a zone.
#[derive(Default)]
struct ZoneReader {
    master: Master,
    bytes: u64,
    /// The files that are being read, the innermost last.
    open: Vec<PathBuf>,
    stopped: bool,
    /// How many files were included so far.
    included: usize,
    /// The types of signed zones that were met: of each the place of its error, and how many records
    /// more have it. A signed zone is one mistake, and not one a record.
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

/// Something wrong in an entry; without a place, at its last token.
type EntryError = (Option<Position>, Problem);

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
            self.master.errors[place].problem = Problem::SigningType { rtype, more };
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
                    self.fail_at(&scope, error.place, error.problem);
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
        if let Err((place, problem)) = done {
            self.fail_at(scope, place.unwrap_or(last.place), problem);
        }
    }

    fn fail_at(&mut self, scope: &Scope, place: Position, problem: Problem) {
        self.fail(Diagnostic {
            file: Arc::clone(&scope.file),
            line: Some(place.line),
            column: Some(place.column),
            problem,
        });
    }

    fn fail(&mut self, error: Diagnostic) {
        match error.problem {
            // Nothing follows from a type that is refused; the rest may hide a record that is needed.
            Problem::MetaType(_) => {}
            Problem::SigningType { rtype, .. } => {
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
                let problem = Problem::UnknownDirective(directive.shown());
                return Err((Some(directive.place), problem));
            }
        }
        Ok(())
    }

    /// Reads the file that an `$INCLUDE` names, relative to the file it stands in.
    fn include(&mut self, token: &Token, origin: Vec<u8>, scope: &Scope) -> Result<(), EntryError> {
        let at = |problem| (Some(token.place), problem);
        let path = unquote(token).and_then(|path| String::from_utf8(path).ok());
        let path = path.ok_or_else(|| at(Problem::BadEscape))?;
        let directory = scope.file.parent().unwrap_or(Path::new(""));
        let path = directory.join(path);
        let key = canonical(&path);
        if self.open.contains(&key) {
            return Err(at(Problem::IncludeCycle(path)));
        }
        self.included += 1;
        if self.included > MAX_INCLUDES {
            self.stopped = true;
            return Err(at(Problem::TooManyIncludes(MAX_INCLUDES)));
        }
        if self.open.len() > MAX_INCLUDE_DEPTH {
            return Err(at(Problem::IncludeDepth(MAX_INCLUDE_DEPTH)));
        }
        let text = self.slurp(&path).map_err(|why| match why {
            Slurp::Io(why) => at(Problem::Include {
                file: path.clone(),
                why,
            }),
            Slurp::Problem(Problem::NotAFile) => at(Problem::Include {
                file: path.clone(),
                why: Problem::NotAFile.to_string(),
            }),
            Slurp::Problem(problem) => at(problem),
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
            true => Slurp::Problem(Problem::NotAFile),
            false => io(error),
        })?;
        file.take(room + 1).read_to_end(&mut text).map_err(io)?;
        self.count_bytes(text.len() as u64)
            .map_err(Slurp::Problem)?;
        Ok(text)
    }

    /// Counts bytes of text with the others of the zone.
    fn count_bytes(&mut self, more: u64) -> Result<(), Problem> {
        self.bytes += more;
        if self.bytes > MAX_ZONE_BYTES {
            self.stopped = true;
            return Err(Problem::TooLarge(MAX_ZONE_BYTES));
        }
        Ok(())
    }

    /// Reads `[owner] [TTL] [class] type data`, TTL and class in either order (RFC 1035 §5.1).
    fn record(&mut self, entry: &Entry, scope: &mut Scope) -> Result<(), EntryError> {
        let mut fields = &entry.tokens[..];
        if !entry.indented {
            let (owner, rest) = fields.split_first().ok_or((None, Problem::NoType))?;
            // Should this not be a name, the lines below belong to it, not to the owner before.
            scope.last_owner = None;
            let wire = read_name(owner, scope)?;
            let long = |_| Problem::Name(owner.shown(), NameProblem::LongName);
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
            Problem::NoOwner,
        ))?;
        let rdata = rdata::read(rtype, fields, &scope.origin)?;
        let ttl = match (ttl, &rdata) {
            (Some(ttl), _) => ttl,
            (None, RData::SOA(soa)) => self.minimum_as_ttl(soa, first_line, scope),
            (None, _) => return Err((None, Problem::NoTtl)),
        };
        if self.master.records.len() >= MAX_RECORDS {
            self.stopped = true;
            return Err((None, Problem::TooManyRecords(MAX_RECORDS)));
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

    /// The TTL of a zone that tells none: before there was a `$TTL`, the MINIMUM of the SOA record was
    /// that of all records (RFC 1035 §3.3.13), and BIND reads old files so to this day.
    fn minimum_as_ttl(&mut self, soa: &SOA, line: u32, scope: &mut Scope) -> u32 {
        let ttl = soa.minimum.min(MAX_TTL);
        scope.default_ttl = Some(ttl);
        self.master.warnings.push(Diagnostic {
            file: Arc::clone(&scope.file),
            line: Some(line),
            column: None,
            problem: Problem::MinimumAsTtl(ttl),
        });
        ttl
    }
}

/// Reads what stands between the owner and the data, and gives the data's tokens.
fn head<'e, 't>(
    fields: &'e [Token<'t>],
) -> Result<(Option<u32>, Rtype, &'e [Token<'t>]), EntryError> {
    let mut time = None;
    let mut class = false;
    let mut rest = fields;
    while let Some((field, tail)) = rest.split_first() {
        let at = |problem| (Some(field.place), problem);
        let text = field.text();
        rest = tail;
        // No type and no class begins with a digit.
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            if time.replace(read_ttl(field)?).is_some() {
                return Err(at(Problem::Twice("TTLs")));
            }
        } else if let Some(is_internet) = class_of(&text) {
            if !is_internet {
                return Err(at(Problem::Class(field.shown())));
            }
            if std::mem::replace(&mut class, true) {
                return Err(at(Problem::Twice("classes")));
            }
        } else {
            let rtype =
                types::parse(&text).ok_or_else(|| at(Problem::UnknownType(field.shown())))?;
            check_type(rtype).map_err(at)?;
            return Ok((time, rtype, tail));
        }
    }
    Err((None, Problem::NoType))
}

/// Whether a text is a class, and then whether it is IN.
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

/// Refuses the types that cannot stand in a file.
fn check_type(rtype: Rtype) -> Result<(), Problem> {
    let shown = rdata::to_record_type(rtype);
    match rtype {
        Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM => {
            Err(Problem::SigningType {
                rtype: shown,
                more: 0,
            })
        }
        // RFC 1035 §3.3.10: "NULL RRs are not allowed in master files."
        Rtype::NULL | Rtype::OPT => Err(Problem::MetaType(shown)),
        _ => match rtype.to_int() {
            // RFC 6895 §3.1: 0 and 65535 are reserved, 128 to 255 are question and meta types.
            0 | 128..=255 | 65_535 => Err(Problem::MetaType(shown)),
            _ => Ok(()),
        },
    }
}

fn read_name(token: &Token, scope: &Scope) -> Result<Vec<u8>, EntryError> {
    name::parse(token.raw, &scope.origin)
        .map_err(|why| (Some(token.place), Problem::Name(token.shown(), why)))
}

fn read_ttl(token: &Token) -> Result<u32, EntryError> {
    match ttl::parse(token.raw) {
        Some(ttl) if ttl <= MAX_TTL => Ok(ttl),
        Some(ttl) => Err((Some(token.place), Problem::LongTtl(ttl))),
        None => Err((Some(token.place), Problem::BadTtl(token.shown()))),
    }
}

fn needs(directive: &'static str, needs: &'static str) -> Problem {
    Problem::Directive { directive, needs }
}

/// The fields of a directive, if there are as many as it takes.
fn exactly<'e, 't, const N: usize>(
    fields: &'e [Token<'t>],
    missing: Problem,
) -> Result<&'e [Token<'t>; N], EntryError> {
    if let Some(extra) = fields.get(N) {
        return Err((Some(extra.place), Problem::Trailing(extra.shown())));
    }
    fields.try_into().map_err(|_| (None, missing))
}

/// What a token means, without its quotes and escapes; none if an escape is wrong, or if it is not
/// quoted as a whole.
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

/// One path for a file, however it is written; as it is where there is no such file.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.into())
}
