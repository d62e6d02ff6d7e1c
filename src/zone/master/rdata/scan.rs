//! Data that `domain` reads: a [`Scanner`] over the tokens of one record.
//!
//! `domain` knows which fields a type has and asks the scanner for one after the other. The scanner keeps the
//! place of each token, so an error names the column of the field that it is about.
//!
//! `domain` has a reader for whole zone files as well. It is not used: it gives no line for a record that is
//! legal but wrong in its zone, reports an error where it stopped reading rather than at the field, panics on a
//! TXT record whose parenthesis is not closed, and takes an hour as TTL where the file gives none.

use domain::base::charstr::CharStr;
use domain::base::iana::Rtype;
use domain::base::name::Name;
use domain::base::rdata::ComposeRecordData;
use domain::base::scan::{ConvertSymbols, EntrySymbol, Scanner, ScannerError, Symbol};
use domain::dep::octseq::str::Str;
use domain::rdata::ZoneRecordData;

use super::super::super::diagnostic::Defect;
use super::super::lexer::{Position, Token};
use super::super::name;
use super::{MORE_FIELDS, RdataError, UNKNOWN_MARKER, rdata_defect};

/// Reads the data of a record of type `rtype` in the form that `domain` knows, or in that of RFC 3597.
pub(super) fn scan(rtype: Rtype, tokens: &[Token], origin: &[u8]) -> Result<Vec<u8>, RdataError> {
    let mut scanner = TokenScanner {
        tokens,
        next: 0,
        offset: 0,
        origin,
    };
    let data: ZoneRecordData<_, _> =
        ZoneRecordData::scan(rtype, &mut scanner).map_err(|error| scanner.locate(error, rtype))?;
    if let Some(extra) = tokens.get(scanner.next) {
        return Err((Some(extra.place), rdata_defect(rtype, MORE_FIELDS)));
    }
    let mut wire = Vec::new();
    // Writing to a Vec cannot fail.
    let Ok(()) = data.compose_rdata(&mut wire);
    Ok(wire)
}

/// Hands the tokens of a record to `domain`, as far as they have not been read.
struct TokenScanner<'e, 't> {
    tokens: &'e [Token<'t>],
    /// The token that is read next.
    next: usize,
    /// How many bytes of that token have been read: more than 0 only within a token such as `a"b"`, which is
    /// two strings.
    offset: usize,
    /// Completes relative names.
    origin: &'e [u8],
}

/// Why a field cannot be read.
#[derive(Debug, thiserror::Error)]
enum ScanError {
    /// The record ends before the field.
    #[error("a field is missing")]
    Missing,
    /// The field that was read last is wrong, in the words of `domain` or of this file.
    #[error("{0}")]
    Field(&'static str),
    /// The field at this place has a defect that does not depend on the type of the record.
    #[error("{1}")]
    Defect(Position, Defect),
}

impl ScannerError for ScanError {
    fn custom(message: &'static str) -> Self {
        Self::Field(message)
    }

    fn end_of_entry() -> Self {
        Self::Missing
    }

    fn short_buf() -> Self {
        Self::Field("the data is too long")
    }

    fn trailing_tokens() -> Self {
        Self::Field(MORE_FIELDS)
    }
}

impl<'t> TokenScanner<'_, 't> {
    /// The token that was read last, if any was.
    fn last(&self) -> Option<&Token<'t>> {
        let last = match self.offset {
            0 => self.next.checked_sub(1)?,
            _ => self.next,
        };
        self.tokens.get(last)
    }

    /// Turns an error into one with a place.
    fn locate(&self, error: ScanError, rtype: Rtype) -> RdataError {
        let last = self.last().map(|token| token.place);
        match error {
            ScanError::Defect(place, defect) => (Some(place), defect),
            // `domain` reads the fields of every type that it knows before it refuses one of them.
            ScanError::Field(_) if last.is_none() => {
                let why = "only its RFC 3597 form is read (TYPEnnn \\# length hex)";
                (
                    self.tokens.first().map(|token| token.place),
                    rdata_defect(rtype, why),
                )
            }
            ScanError::Field(why) => (last, rdata_defect(rtype, why)),
            ScanError::Missing => (None, rdata_defect(rtype, &ScanError::Missing.to_string())),
        }
    }

    /// Takes all of the next token that has not been read.
    fn take_token(&mut self) -> Result<(&Token<'t>, &'t [u8]), ScanError> {
        let token = self.tokens.get(self.next).ok_or(ScanError::Missing)?;
        let raw = token.raw.get(self.offset..).unwrap_or_default();
        (self.next, self.offset) = (self.next + 1, 0);
        Ok((token, raw))
    }

    /// Takes the next string, without its quotes. A quote in the middle of a token begins or ends a string.
    fn take_string(&mut self) -> Result<&'t [u8], ScanError> {
        let (start, offset) = (self.next, self.offset);
        let (_, raw) = self.take_token()?;
        let len = string_len(raw);
        if len < raw.len() {
            (self.next, self.offset) = (start, offset + len);
        }
        let string = raw.get(..len).unwrap_or_default();
        let quoted = string.strip_prefix(b"\"");
        let quoted = quoted.map(|inner| inner.strip_suffix(b"\"").unwrap_or(inner));
        Ok(quoted.unwrap_or(string))
    }

    /// Passes all symbols of the rest of the record to `convert`.
    fn convert<S: From<Symbol>, C: ConvertSymbols<S, ScanError>>(
        &mut self,
        convert: &mut C,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ScanError> {
        self.scan_symbols(|symbol| {
            let converted = convert.process_symbol(symbol.into())?;
            bytes.extend_from_slice(converted.unwrap_or_default());
            Ok(())
        })
    }
}

/// The length in bytes of the first string of a token, with its quotes.
fn string_len(raw: &[u8]) -> usize {
    let is_quoted = raw.first() == Some(&b'"');
    let mut at = usize::from(is_quoted);
    while let Some(byte) = raw.get(at) {
        match byte {
            b'"' => return at + usize::from(is_quoted),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    raw.len()
}

impl Scanner for TokenScanner<'_, '_> {
    type Octets = Vec<u8>;
    type OctetsBuilder = Vec<u8>;
    type Name = Name<Vec<u8>>;
    type Error = ScanError;

    fn has_space(&self) -> bool {
        let next = self.tokens.get(self.next);
        self.offset == 0 && next.is_some_and(|token| token.spaced)
    }

    fn continues(&mut self) -> bool {
        self.next < self.tokens.len()
    }

    fn scan_symbols<F>(&mut self, mut op: F) -> Result<(), ScanError>
    where
        F: FnMut(Symbol) -> Result<(), ScanError>,
    {
        let mut rest = self.take_string()?;
        while let Some((&byte, behind)) = rest.split_first() {
            let is_printable = |byte: u8| (0x20..=0x7E).contains(&byte);
            let symbol = match byte {
                b'\\' => {
                    let Some((escaped, tail)) = name::unescape(behind) else {
                        return Err(match self.last() {
                            Some(token) => ScanError::Defect(token.place, Defect::BadEscape),
                            None => ScanError::Missing,
                        });
                    };
                    rest = tail;
                    let is_number = behind.first().is_some_and(u8::is_ascii_digit);
                    match is_printable(escaped) && !is_number {
                        true => Symbol::SimpleEscape(escaped),
                        false => Symbol::DecimalEscape(escaped),
                    }
                }
                byte => {
                    rest = behind;
                    match is_printable(byte) {
                        true => Symbol::Char(byte.into()),
                        false => Symbol::DecimalEscape(byte),
                    }
                }
            };
            op(symbol)?;
        }
        Ok(())
    }

    fn scan_entry_symbols<F>(&mut self, mut op: F) -> Result<(), ScanError>
    where
        F: FnMut(EntrySymbol) -> Result<(), ScanError>,
    {
        while self.continues() {
            self.scan_symbols(|symbol| op(symbol.into()))?;
            op(EntrySymbol::EndOfToken)?;
        }
        Ok(())
    }

    fn convert_token<C: ConvertSymbols<Symbol, ScanError>>(
        &mut self,
        mut convert: C,
    ) -> Result<Vec<u8>, ScanError> {
        let mut bytes = Vec::new();
        self.convert(&mut convert, &mut bytes)?;
        bytes.extend_from_slice(convert.process_tail()?.unwrap_or_default());
        Ok(bytes)
    }

    fn convert_entry<C: ConvertSymbols<EntrySymbol, ScanError>>(
        &mut self,
        mut convert: C,
    ) -> Result<Vec<u8>, ScanError> {
        let mut bytes = Vec::new();
        while self.continues() {
            self.convert(&mut convert, &mut bytes)?;
        }
        bytes.extend_from_slice(convert.process_tail()?.unwrap_or_default());
        Ok(bytes)
    }

    fn scan_octets(&mut self) -> Result<Vec<u8>, ScanError> {
        let mut bytes = Vec::new();
        self.scan_symbols(|symbol| {
            let byte = symbol.into_octet();
            bytes.push(byte.map_err(|error| ScanError::Field(error.as_str()))?);
            Ok(())
        })?;
        Ok(bytes)
    }

    fn scan_ascii_str<F, T>(&mut self, op: F) -> Result<T, ScanError>
    where
        F: FnOnce(&str) -> Result<T, ScanError>,
    {
        let string = self.scan_string()?;
        match string.is_ascii() {
            true => op(&string),
            false => Err(ScanError::Field("the field is not ASCII text")),
        }
    }

    fn scan_name(&mut self) -> Result<Name<Vec<u8>>, ScanError> {
        let origin = self.origin;
        let (token, raw) = self.take_token()?;
        let bad = |why| ScanError::Defect(token.place, Defect::Name(token.shown(), why));
        let wire = name::parse(raw, origin).map_err(bad)?;
        Name::from_octets(wire).map_err(|_| ScanError::Field("the field is not a name"))
    }

    fn scan_charstr(&mut self) -> Result<CharStr<Vec<u8>>, ScanError> {
        CharStr::from_octets(self.scan_octets()?)
            .map_err(|_| ScanError::Field("a string has more than 255 bytes"))
    }

    fn scan_string(&mut self) -> Result<Str<Vec<u8>>, ScanError> {
        Str::from_utf8(self.scan_octets()?)
            .map_err(|_| ScanError::Field("the field is not UTF-8 text"))
    }

    fn scan_charstr_entry(&mut self) -> Result<Vec<u8>, ScanError> {
        let mut bytes = Vec::new();
        loop {
            let string = self.scan_charstr()?;
            // A character-string has 255 bytes at most.
            bytes.push(string.as_slice().len() as u8);
            bytes.extend_from_slice(string.as_slice());
            if !self.continues() {
                return Ok(bytes);
            }
        }
    }

    fn scan_opt_unknown_marker(&mut self) -> Result<bool, ScanError> {
        let next = self.tokens.get(self.next);
        let is_marker = self.offset == 0 && next.is_some_and(|token| token.raw == UNKNOWN_MARKER);
        self.next += usize::from(is_marker);
        Ok(is_marker)
    }

    fn octets_builder(&mut self) -> Result<Vec<u8>, ScanError> {
        Ok(Vec::new())
    }
}
