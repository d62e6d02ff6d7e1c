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
//! `$GENERATE` (BIND's own) is refused: a wildcard or a list says the same in every server.

mod lexer;
mod name;
mod rdata;
mod ttl;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use domain::base::iana::Rtype;
use hickory_proto::rr::{Name, RData};

pub use name::NameProblem;

use self::lexer::{Entry, Lexer, Place, Token};
use super::diagnostic::{Diagnostic, MAX_DIAGNOSTICS, Problem};
use super::wire;

/// The most bytes that the files of one zone have together.
const MAX_ZONE_BYTES: u64 = 64 * 1024 * 1024;
/// The most records of one zone.
const MAX_RECORDS: usize = 1_000_000;
/// How many files may be open within one another.
const MAX_INCLUDE_DEPTH: usize = 8;
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
    /// Whether a record was not understood, so that it may be missing elsewhere.
    pub(super) incomplete: bool,
}

/// Reads a zone from its file.
pub(super) fn read_file(file: &Path, origin: &[u8]) -> Master {
    let mut reader = Reader::default();
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
    let mut reader = Reader::default();
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
struct Reader {
    master: Master,
    bytes: u64,
    /// The files that are being read, the innermost last.
    open: Vec<PathBuf>,
    stopped: bool,
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
type EntryError = (Option<Place>, Problem);

impl Reader {
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

    fn fail_at(&mut self, scope: &Scope, place: Place, problem: Problem) {
        self.fail(Diagnostic {
            file: Arc::clone(&scope.file),
            line: Some(place.line),
            column: Some(place.column),
            problem,
        });
    }

    fn fail(&mut self, error: Diagnostic) {
        // Nothing follows from a type that is refused; the rest may hide a record that is needed.
        if !matches!(
            error.problem,
            Problem::MetaType(_) | Problem::SigningType(_)
        ) {
            self.master.incomplete = true;
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
            _ => {
                let problem = Problem::UnknownDirective(directive.text());
                return Err((Some(directive.place), problem));
            }
        }
        Ok(())
    }

    /// Reads the file that an `$INCLUDE` names, relative to the file it stands in.
    fn include(&mut self, token: &Token, origin: Vec<u8>, scope: &Scope) -> Result<(), EntryError> {
        let at = |problem| (Some(token.place), problem);
        let path = unquote(token).ok_or_else(|| at(Problem::BadEscape))?;
        let directory = scope.file.parent().unwrap_or(Path::new(""));
        let path = directory.join(path);
        let key = canonical(&path);
        if self.open.contains(&key) {
            return Err(at(Problem::IncludeCycle(path)));
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
        // Asked before it is opened: opening a pipe would wait for its other end.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(Slurp::Problem(Problem::NotAFile));
        }
        let room = MAX_ZONE_BYTES - self.bytes;
        let mut text = Vec::new();
        let file = File::open(path).map_err(io)?;
        file.take(room + 1).read_to_end(&mut text).map_err(io)?;
        let len = text.len() as u64;
        if len > room {
            self.stopped = true;
            return Err(Slurp::Problem(Problem::TooLarge(MAX_ZONE_BYTES)));
        }
        self.bytes += len;
        Ok(text)
    }

    /// Reads `[owner] [TTL] [class] type data`, TTL and class in either order (RFC 1035 §5.1).
    fn record(&mut self, entry: &Entry, scope: &mut Scope) -> Result<(), EntryError> {
        let mut fields = &entry.tokens[..];
        if !entry.indented {
            let (owner, rest) = fields.split_first().ok_or((None, Problem::NoType))?;
            // Should this not be a name, the lines below belong to it, not to the owner before.
            scope.last_owner = None;
            let wire = read_name(owner, scope)?;
            let long = |_| Problem::Name(owner.text(), NameProblem::LongName);
            let name = Name::from_labels(wire::labels(&wire));
            scope.last_owner = Some(name.map_err(|e| (Some(owner.place), long(e)))?);
            fields = rest;
        }
        let first_line = entry.tokens.first().map_or(0, |token| token.place.line);
        let (ttl, rtype, fields) = head(fields)?;
        let ttl = match ttl {
            Some(ttl) => {
                scope.last_ttl = Some(ttl);
                ttl
            }
            // RFC 2308 §4, and RFC 1035 §5.1 where there is no $TTL.
            None => scope
                .default_ttl
                .or(scope.last_ttl)
                .ok_or((None, Problem::NoTtl))?,
        };
        let owner = scope.last_owner.clone().ok_or((
            entry.tokens.first().map(|token| token.place),
            Problem::NoOwner,
        ))?;
        let rdata = rdata::read(rtype, fields, &scope.origin)?;
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
                return Err(at(Problem::Class(text)));
            }
            if std::mem::replace(&mut class, true) {
                return Err(at(Problem::Twice("classes")));
            }
        } else {
            let rtype = Rtype::from_str(&text).map_err(|_| at(Problem::UnknownType(text)))?;
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
            Err(Problem::SigningType(shown))
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
        .map_err(|why| (Some(token.place), Problem::Name(token.text(), why)))
}

fn read_ttl(token: &Token) -> Result<u32, EntryError> {
    match ttl::parse(token.raw) {
        Some(ttl) if ttl <= MAX_TTL => Ok(ttl),
        Some(ttl) => Err((Some(token.place), Problem::LongTtl(ttl))),
        None => Err((Some(token.place), Problem::BadTtl(token.text()))),
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
        return Err((Some(extra.place), Problem::Trailing(extra.text())));
    }
    fields.try_into().map_err(|_| (None, missing))
}

/// A file name without its quotes and escapes.
fn unquote(token: &Token) -> Option<PathBuf> {
    let inner = token.raw.strip_prefix(b"\"").unwrap_or(token.raw);
    let mut rest = match token.is_quoted() {
        true => inner.strip_suffix(b"\"").unwrap_or(inner),
        false => inner,
    };
    let mut path = Vec::with_capacity(rest.len());
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match byte {
            b'\\' => name::unescape(tail)?,
            byte => (byte, tail),
        };
        path.push(byte);
        rest = tail;
    }
    Some(String::from_utf8(path).ok()?.into())
}

/// One path for a file, however it is written; as it is where there is no such file.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.into())
}
