//! `$GENERATE`, BIND's shorthand for records that differ by a number:
//!
//! ```text
//!   $GENERATE start-stop[/step] owner [TTL] [class] type data
//! ```
//!
//! In the owner and the data, `$` stands for the number, from start to stop. `${offset,width,base}` stands for the
//! number plus an offset, with leading zeros up to a width, in base `d` (ten), `o`, `x` or `X`; base `n` or `N`
//! gives the hexadecimal digits from the last to the first with dots between them, as in names below `ip6.arpa`.
//! `\$` and `$$` stand for a dollar sign.
//!
//! This module makes text, which is then read as if it stood in the file, at the line of the directive. Its bytes
//! count towards the limit for the files of a zone. BIND takes one field of data, and data of several fields has
//! to stand in quotes. This reader takes that form, and also data of several fields without quotes.

use std::borrow::Cow;

use super::lexer::{Entry, LexError, Lexer, MAX_TOKEN_LEN, Token};
use super::template::{GenerateProblem, Range, Template};
use super::{Defect, EntryError, MAX_RECORDS, Scope, ZoneReader, head, needs};

impl ZoneReader {
    /// Reads the records that a `$GENERATE` stands for. It changes neither the owner nor the TTL that the lines
    /// below it inherit.
    pub(super) fn generate(&mut self, fields: &[Token], scope: &Scope) -> Result<(), EntryError> {
        let [range, record @ ..] = fields else {
            let needs = needs("$GENERATE", "a range, an owner, a type and data");
            return Err((None, needs));
        };
        let at = |token: &Token, defect| (Some(token.place), defect);
        let numbers = Range::parse(&range.text())
            .ok_or_else(|| at(range, Defect::Generate(GenerateProblem::Range)))?;
        // Refused at once, before any record is made.
        if numbers.len() > MAX_RECORDS - self.master.records.len() {
            return Err(at(range, Defect::TooManyRecords(MAX_RECORDS)));
        }
        // Each record reads all templates again, so together they may be no longer than one field.
        let mut length = 0;
        for token in record {
            length += token.raw.len();
            if length > MAX_TOKEN_LEN {
                return Err(at(token, Defect::LongToken(MAX_TOKEN_LEN)));
            }
        }
        let templates = templates(record)?;
        let mut scope = scope.clone();
        for number in numbers.numbers() {
            let mut text = Vec::new();
            for (token, template) in record.iter().zip(&templates) {
                let before = text.len();
                let written = template.write(number, &mut text);
                written.map_err(|defect| at(token, Defect::Generate(defect)))?;
                text.push(b' ');
                self.count_bytes((text.len() - before) as u64)
                    .map_err(|defect| at(range, defect))?;
            }
            let made =
                single_entry(&text, record).and_then(|entry| self.record(&entry, &mut scope));
            made.map_err(|(place, defect)| {
                let defect = Box::new(defect);
                (place, Defect::Generated { number, defect })
            })?;
        }
        Ok(())
    }
}

/// The templates of the fields behind the range: of the owner and the data. The fields between them have no
/// placeholders.
fn templates(record: &[Token]) -> Result<Vec<Template>, EntryError> {
    let (_, rest) = record.split_first().ok_or((None, Defect::NoType))?;
    let (_, _, data) = head(rest)?;
    let first_data = record.len() - data.len();
    let parse = |(field, token): (usize, &Token)| {
        if field > 0 && field < first_data {
            return Ok(Template::plain(token.raw));
        }
        let raw = match token.raw {
            [b'"', inner @ .., b'"'] if field > 0 && data.len() == 1 => unescape_quotes(inner),
            raw => Cow::Borrowed(raw),
        };
        let template = Template::parse(&raw);
        template.map_err(|defect| (Some(token.place), Defect::Generate(defect)))
    };
    record.iter().enumerate().map(parse).collect()
}

/// Reads a text that must be one record. Its tokens get the places of the fields that they were made from.
fn single_entry<'t>(text: &'t [u8], fields: &[Token]) -> Result<Entry<'t>, EntryError> {
    let last = fields.last().map(|field| field.place);
    let mut lexer = Lexer::new(text);
    let mut next = || {
        lexer
            .next_entry()
            .map_err(|LexError { defect, .. }| (last, defect))
    };
    let (Some(mut entry), None) = (next()?, next()?) else {
        return Err((last, Defect::Generate(GenerateProblem::NotOne)));
    };
    for (place, token) in entry.tokens.iter_mut().enumerate() {
        let field = fields.get(place).or(fields.last());
        token.place = field.map_or(token.place, |field| field.place);
    }
    Ok(entry)
}

/// Removes the backslashes before quotes in quoted text, and keeps all other escapes.
fn unescape_quotes(mut raw: &[u8]) -> Cow<'_, [u8]> {
    let mut text = Vec::with_capacity(raw.len());
    while let Some((&byte, rest)) = raw.split_first() {
        raw = match (byte, rest) {
            (b'\\', [b'"', rest @ ..]) => {
                text.push(b'"');
                rest
            }
            (b'\\', [escaped, rest @ ..]) => {
                text.extend([byte, *escaped]);
                rest
            }
            _ => {
                text.push(byte);
                rest
            }
        };
    }
    text.into()
}
