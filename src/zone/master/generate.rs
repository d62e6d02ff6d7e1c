//! `$GENERATE`, BIND's shorthand for records that differ by a number:
//!
//! ```text
//!   $GENERATE start-stop[/step] owner [TTL] [class] type data
//! ```
//!
//! In the owner and the data, `$` is the number, from start to stop, and `${offset,width,base}` the
//! number plus an offset, with zeros in front up to a width, in base `d` (ten), `o`, `x`, `X`, or as
//! `n` or `N` the hexadecimal digits from the last to the first with dots between, as names below
//! `ip6.arpa` have them. `\$` and `$$` are a dollar.
//!
//! Here text becomes text, which is then read as if it stood in the file, at the line of the
//! directive; its bytes count with those of the file. BIND takes one field of data, and what needs
//! more stands in quotes; the same is read here, and data of several fields as well.

use std::borrow::Cow;

use super::lexer::{Entry, LexError, Lexer, MAX_TOKEN_LEN, Token};
use super::template::{GenerateProblem, Range, Template};
use super::{EntryError, MAX_RECORDS, Problem, Scope, ZoneReader, head, needs};

impl ZoneReader {
    /// Reads the records that a `$GENERATE` stands for. It changes neither the owner nor the TTL that
    /// the lines below it take over.
    pub(super) fn generate(&mut self, fields: &[Token], scope: &Scope) -> Result<(), EntryError> {
        let [range, record @ ..] = fields else {
            let needs = needs("$GENERATE", "a range, an owner, a type and data");
            return Err((None, needs));
        };
        let at = |token: &Token, problem| (Some(token.place), problem);
        let numbers = Range::parse(&range.text())
            .ok_or_else(|| at(range, Problem::Generate(GenerateProblem::Range)))?;
        // Better than a million of them before the one that is too many.
        if numbers.len() > MAX_RECORDS - self.master.records.len() {
            return Err(at(range, Problem::TooManyRecords(MAX_RECORDS)));
        }
        // What one record is made of is no longer than a field may be. It is gone through for each of them.
        let mut length = 0;
        for token in record {
            length += token.raw.len();
            if length > MAX_TOKEN_LEN {
                return Err(at(token, Problem::LongToken(MAX_TOKEN_LEN)));
            }
        }
        let templates = templates(record)?;
        let mut scope = scope.clone();
        for number in numbers.numbers() {
            let mut text = Vec::new();
            for (token, template) in record.iter().zip(&templates) {
                let before = text.len();
                let written = template.write(number, &mut text);
                written.map_err(|problem| at(token, Problem::Generate(problem)))?;
                text.push(b' ');
                self.count_bytes((text.len() - before) as u64)
                    .map_err(|problem| at(range, problem))?;
            }
            let made =
                single_entry(&text, record).and_then(|entry| self.record(&entry, &mut scope));
            made.map_err(|(place, problem)| {
                let problem = Box::new(problem);
                (place, Problem::Generated { number, problem })
            })?;
        }
        Ok(())
    }
}

/// The templates of the fields behind the range: of the owner and the data. What stands between them
/// is taken as it is.
fn templates(record: &[Token]) -> Result<Vec<Template>, EntryError> {
    let (_, rest) = record.split_first().ok_or((None, Problem::NoType))?;
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
        template.map_err(|problem| (Some(token.place), Problem::Generate(problem)))
    };
    record.iter().enumerate().map(parse).collect()
}

/// The record that a text is, with its tokens at the places of the fields that they were made of.
fn single_entry<'t>(text: &'t [u8], fields: &[Token]) -> Result<Entry<'t>, EntryError> {
    let last = fields.last().map(|field| field.place);
    let mut lexer = Lexer::new(text);
    let mut next = || {
        lexer
            .next_entry()
            .map_err(|LexError { problem, .. }| (last, problem))
    };
    let (Some(mut entry), None) = (next()?, next()?) else {
        return Err((last, Problem::Generate(GenerateProblem::NotOne)));
    };
    for (place, token) in entry.tokens.iter_mut().enumerate() {
        let field = fields.get(place).or(fields.last());
        token.place = field.map_or(token.place, |field| field.place);
    }
    Ok(entry)
}

/// What stands in quotes, its own quotes without their backslashes; all other escapes are kept.
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
