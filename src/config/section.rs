//! Takes the values of one table of the file, key by key. Each key of the configuration is spelled in one place:
//! the call that reads it, which also gives its type, its range and its default.
//!
//! A call returns a value that holds nothing bad. It notes a fault with its place, and continues with
//! the default, so that an operator learns of all faults at once. A key that no call has asked for is unknown.
//!
//! Structs that serde fills would need less code here, but then each key would have a field, a name for
//! messages and a place where its value is checked; serde also stops at the first fault, and its messages name
//! types of Rust.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::Unexpected;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::features::Features;
use super::problem::ConfigProblem;
use super::reader::ConfigReader;
use crate::base::text::one_line;
use crate::base::toml_text::{TomlProblem, is_misspelling};

/// In seconds.
pub(super) const HOUR: u32 = 60 * 60;
pub(super) const DAY: u32 = 24 * HOUR;

/// The shortest time with decimals, in seconds.
const MIN_PERIOD: f64 = 0.1;

/// Sections whose texts are never shown: a URL of `[redis]` or `[store]` may have a password in it, and a value of `[cookies]`
/// may be a secret.
const SECRET_SECTIONS: [&str; 3] = ["redis", "cookies", "store"];

/// A table of the file while its keys are read.
pub(super) struct Section<'s> {
    reader: &'s ConfigReader<'s>,
    /// The names of the table and of those around it, as `dns.tcp`; empty for the whole file.
    name: &'s str,
    /// How messages call the table.
    title: &'s str,
    /// Where its header is.
    span: Range<usize>,
    table: &'s DeTable<'s>,
    /// The keys that were asked for, in this order.
    known: &'s RefCell<Vec<&'static str>>,
    /// Why the configuration cannot have the keys that are asked for.
    refusal: Option<ConfigProblem>,
}

impl<'s> Section<'s> {
    /// Reads the whole file.
    pub(super) fn whole<T>(
        reader: &ConfigReader<'_>,
        table: &Spanned<DeTable<'_>>,
        read: impl FnOnce(&Section<'_>) -> T,
    ) -> T {
        let names = ("", "the file");
        Self::visit(reader, names, table.span(), table.get_ref(), read)
    }

    /// Reads a table, and notes the keys that `read` did not ask for.
    fn visit<T>(
        reader: &ConfigReader<'_>,
        (name, title): (&str, &str),
        span: Range<usize>,
        table: &DeTable<'_>,
        read: impl FnOnce(&Section<'_>) -> T,
    ) -> T {
        let known = RefCell::default();
        let section = Section {
            reader,
            name,
            title,
            span,
            table,
            known: &known,
            refusal: None,
        };
        let value = read(&section);
        section.note_unknown_keys();
        value
    }

    fn note_unknown_keys(&self) {
        let known = self.known.borrow();
        for key in self.table.keys() {
            let name = key.get_ref();
            if !known.contains(&name.as_ref()) {
                let known = known.iter().map(|known| (*known).to_owned());
                let problem = TomlProblem::unknown_key(name, known.collect()).to_string();
                let problem = ConfigProblem::Toml(one_line(&problem));
                let key_name = one_line(&self.full(name));
                self.reader.note(key.span(), &key_name, problem);
            }
        }
    }

    /// The same section; while `refusal` is a problem, each key that is asked for and is there has this problem.
    pub(super) fn refusing(&self, refusal: Option<ConfigProblem>) -> Section<'_> {
        Section {
            refusal,
            span: self.span.clone(),
            ..*self
        }
    }

    /// What the program was built with.
    pub(super) fn features(&self) -> Features {
        self.reader.features
    }

    /// A key with the names of its tables.
    pub(super) fn full(&self, key: &str) -> String {
        match self.name {
            "" => key.into(),
            name => format!("{name}.{key}"),
        }
    }

    /// Notes that something is wrong with the value of a key, at its place or, without a value, at that of the
    /// section.
    pub(super) fn note(&self, key: &str, problem: ConfigProblem) {
        self.note_at(self.span_of(key), key, problem);
    }

    /// Notes a problem of a key at another place, such as that of an item in its list.
    pub(super) fn note_at(&self, span: Range<usize>, key: &str, problem: ConfigProblem) {
        self.reader.note(span, &self.full(key), problem);
    }

    /// Notes a problem of a key of any section.
    pub(super) fn note_elsewhere(
        &self,
        span: Range<usize>,
        full_key: &str,
        problem: ConfigProblem,
    ) {
        self.reader.note(span, full_key, problem);
    }

    /// Notes a problem of the section as a whole.
    pub(super) fn note_whole(&self, problem: ConfigProblem) {
        self.reader.note(self.span.clone(), self.name, problem);
    }

    /// Notes that the section needs a key that it does not have. A key whose value is bad or whose name is
    /// misspelt has a message of its own.
    pub(super) fn note_missing(&self, key: &'static str) {
        if !self.mentions(key) {
            let part = self.title.into();
            self.note_whole(ConfigProblem::Missing { part, key });
        }
    }

    /// Whether the section has a key, or one that may be a misspelling of it.
    pub(super) fn mentions(&self, key: &str) -> bool {
        let mut keys = self.table.keys();
        keys.any(|other| other.get_ref() == key || is_misspelling(other.get_ref(), key))
    }

    /// Whether the section has a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the value of a key is a list without items.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        let list = self
            .table
            .get(key)
            .and_then(|value| value.get_ref().as_array());
        list.is_some_and(|list| list.is_empty())
    }

    /// Notes a certificate without its key, or a key without its certificate; `part` is how messages call the section.
    pub(super) fn note_half_a_pair(
        &self,
        part: &str,
        certificate: &'static str,
        key: &'static str,
    ) {
        for (given, missing) in [(certificate, key), (key, certificate)] {
            if self.has(given) && !self.mentions(missing) {
                let part = part.into();
                self.note(given, ConfigProblem::Missing { part, key: missing });
            }
        }
    }

    /// Where the value of a key is; without one, where the section is.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        let value = self.table.get(key);
        value.map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// The line of the value of a key, or of the section.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.line_at(&self.span_of(key))
    }

    /// The line in which a span begins.
    pub(super) fn line_at(&self, span: &Range<usize>) -> usize {
        self.reader.line(span.start)
    }

    /// A table that need not be there.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Section<'_>) -> T,
    ) -> Option<T> {
        let name = self.full(key);
        let title = format!("[{name}]");
        let value = self.value(key)?;
        let table = self.table_in(value, key, &title)?;
        let names = (name.as_str(), title.as_str());
        Some(Self::visit(self.reader, names, value.span(), table, read))
    }

    /// A table whose keys all have defaults.
    pub(super) fn section<T>(
        &self,
        key: &'static str,
        mut read: impl FnMut(&Section<'_>) -> T,
    ) -> T {
        self.optional(key, &mut read).unwrap_or_else(|| {
            let name = self.full(key);
            Self::visit(self.reader, (&name, ""), 0..0, &DeTable::new(), read)
        })
    }

    /// A list of tables, each with none where the item is no table; none without the key.
    pub(super) fn each<T>(
        &self,
        key: &'static str,
        mut read: impl FnMut(&Section<'_>) -> T,
    ) -> Option<Vec<Option<T>>> {
        let name = self.full(key);
        let title = format!("[[{name}]]");
        let value = self.value(key)?;
        let Some(items) = value.get_ref().as_array() else {
            self.note_type(value, key, &format!("a list of tables: write {title}"));
            return None;
        };
        let item = |item: &Spanned<DeValue<'_>>| {
            let table = self.table_in(item, key, &title)?;
            let names = (name.as_str(), &*format!("a {title}"));
            Some(Self::visit(
                self.reader,
                names,
                item.span(),
                table,
                &mut read,
            ))
        };
        Some(items.iter().map(item).collect())
    }

    fn table_in<'v>(
        &self,
        value: &'v Spanned<DeValue<'v>>,
        key: &str,
        title: &str,
    ) -> Option<&'v DeTable<'v>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.note_type(value, key, &format!("a table, {title}"));
        }
        table
    }

    /// The value of a key: the one place where keys are looked up.
    fn value(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'s>>> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        drop(known);
        let value = self.table.get(key)?;
        if let Some(refusal) = &self.refusal {
            self.note(key, refusal.clone());
            return None;
        }
        Some(value)
    }

    /// A text that `parse` can make something of.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, ConfigProblem>,
    ) -> Option<T> {
        let text = self.text_in(self.value(key)?, key)?;
        parse(text).map_err(|problem| self.note(key, problem)).ok()
    }

    fn text_in<'v>(&self, value: &'v Spanned<DeValue<'v>>, key: &str) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.note_type(value, key, "a string");
        }
        text
    }

    /// The path of a file or directory.
    pub(super) fn file(&self, key: &'static str, default: &str) -> PathBuf {
        self.optional_file(key).unwrap_or_else(|| default.into())
    }

    /// The path of a file that need not be there.
    pub(super) fn optional_file(&self, key: &'static str) -> Option<PathBuf> {
        self.parsed(key, |path| match path {
            "" => Err(ConfigProblem::EmptyPath),
            path => Ok(path.into()),
        })
    }

    /// The path of a file or directory that the section cannot do without. It is empty if something was noted.
    pub(super) fn required_file(&self, key: &'static str) -> PathBuf {
        let file = self.optional_file(key);
        if file.is_none() {
            self.note_missing(key);
        }
        file.unwrap_or_default()
    }

    /// A whole number within a range, if there is one. `unit` is for the message, and may be empty.
    pub(super) fn optional_number<T>(
        &self,
        key: &'static str,
        range: RangeInclusive<T>,
        unit: &'static str,
    ) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Copy + Into<u32>,
    {
        let value = self.value(key)?;
        let DeValue::Integer(number) = value.get_ref() else {
            self.note_type(value, key, "a whole number");
            return None;
        };
        let Ok(value) = i64::from_str_radix(number.as_str(), number.radix()) else {
            let problem = "invalid type: a number of more than 64 bits, expected a whole number";
            self.note(key, ConfigProblem::Toml(problem.into()));
            return None;
        };
        let in_range = T::try_from(value)
            .ok()
            .filter(|number| range.contains(number));
        if in_range.is_none() {
            let (min, max) = ((*range.start()).into(), (*range.end()).into());
            self.note(
                key,
                ConfigProblem::Range {
                    value,
                    min,
                    max,
                    unit,
                },
            );
        }
        in_range
    }

    /// A whole number within a range.
    pub(super) fn number<T>(
        &self,
        key: &'static str,
        range: RangeInclusive<T>,
        unit: &'static str,
        default: T,
    ) -> T
    where
        T: TryFrom<i64> + PartialOrd + Copy + Into<u32>,
    {
        self.optional_number(key, range, unit).unwrap_or(default)
    }

    /// A number with decimals, from `-most` to `most`, if there is one.
    pub(super) fn optional_decimal(&self, key: &'static str, most: u32) -> Option<f64> {
        let range = -f64::from(most)..=f64::from(most);
        self.decimal_in(key, range, ConfigProblem::Decimal { most })
    }

    /// A time in seconds with decimals, from a tenth of a second on, if there is one.
    pub(super) fn period(&self, key: &'static str, most: u32) -> Option<Duration> {
        let problem = ConfigProblem::Period { most };
        let seconds = self.decimal_in(key, MIN_PERIOD..=most.into(), problem)?;
        Some(Duration::from_secs_f64(seconds))
    }

    fn decimal_in(
        &self,
        key: &'static str,
        range: RangeInclusive<f64>,
        problem: ConfigProblem,
    ) -> Option<f64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) => number.as_str().parse().ok(),
            _ => {
                self.note_type(value, key, "a number");
                return None;
            }
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.note(key, problem);
        }
        number
    }

    /// A time in seconds.
    pub(super) fn seconds(
        &self,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<Duration> {
        let seconds = self.optional_number(key, range, "seconds")?;
        Some(Duration::from_secs(seconds.into()))
    }

    /// A size that is given in MiB, in bytes.
    pub(super) fn mib(&self, key: &'static str, range: RangeInclusive<u32>) -> Option<u64> {
        let mib = self.optional_number(key, range, "MiB")?;
        Some(u64::from(mib) << 20)
    }

    /// Whether something is on.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.optional_flag(key).unwrap_or(default)
    }

    /// Whether something is on, if the file says so.
    pub(super) fn optional_flag(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.note_type(value, key, "a boolean");
        }
        flag
    }

    /// The meaning of one of a few words, of which the first is the default. None if something else is there.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let Some(value) = self.value(key) else {
            // It is unknown which word a misspelt key was meant to have.
            let default = words.first().filter(|_| !self.mentions(key))?;
            return Some(default.1);
        };
        let text = self.text_in(value, key)?;
        let chosen = words.iter().find(|(word, _)| *word == text);
        if chosen.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let (found, known) = (text.into(), alternatives(&words));
            self.note(key, ConfigProblem::Choice { found, known });
        }
        chosen.map(|(_, meaning)| *meaning)
    }

    /// One text or a list of texts, each with its place. Items that are no texts are noted and left out.
    pub(super) fn texts(&self, key: &'static str, expected: &str) -> Option<Vec<Spanned<&'s str>>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(vec![Spanned::new(value.span(), text)]),
            DeValue::Array(items) => {
                let text = |item: &'s Spanned<DeValue<'s>>| {
                    Some(Spanned::new(item.span(), self.text_in(item, key)?))
                };
                Some(items.iter().filter_map(text).collect())
            }
            _ => {
                self.note_type(value, key, expected);
                None
            }
        }
    }

    /// Notes that a value is of another type than expected.
    fn note_type(&self, value: &Spanned<DeValue<'_>>, key: &str, expected: &str) {
        let key = self.full(key);
        let section = key.split('.').next().unwrap_or_default();
        let found = match value.get_ref() {
            DeValue::String(_) if SECRET_SECTIONS.contains(&section) => "string".into(),
            DeValue::String(text) => Unexpected::Str(text).to_string(),
            DeValue::Integer(number) => format!("integer `{number}`"),
            DeValue::Float(number) => format!("floating point `{number}`"),
            DeValue::Boolean(flag) => Unexpected::Bool(*flag).to_string(),
            DeValue::Datetime(time) => format!("time `{time}`"),
            DeValue::Array(_) => Unexpected::Seq.to_string(),
            DeValue::Table(_) => Unexpected::Map.to_string(),
        };
        let problem = one_line(&format!("invalid type: {found}, expected {expected}"));
        self.reader
            .note(value.span(), &key, ConfigProblem::Toml(problem));
    }
}

/// The words in quotation marks, as a phrase.
fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        all => all.concat(),
    }
}

/// Whether a text has nothing but letters, digits and these marks.
pub(super) fn is_word(text: &str, marks: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
}
