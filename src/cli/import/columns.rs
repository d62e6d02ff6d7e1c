//! The columns of a CSV file: which member of a link each has, by the header or by the command line.

use std::borrow::Cow;
use std::str::FromStr;

use anyhow::bail;
use serde_json::{Map, Value};

use super::record::{KEYS, Record, URLS, member};
use super::rows::{Fields, MAX_LEN, Read};
use crate::base::text::one_line;

/// The delimiters that are tried in this order, unless the command line names one.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// The members that `--column` can name.
const NAMED: [&str; 8] = [
    "code",
    "name",
    "url",
    "expires_at",
    "ttl",
    "title",
    "tags",
    "note",
];
/// How much of a header a message shows, in characters.
const MAX_SHOWN: usize = 200;

/// The options for a CSV file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) columns: Vec<Column>,
    pub(super) delimiter: Option<Delimiter>,
}

/// A member of a link, and the column that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Column {
    member: &'static str,
    /// Its name in the header.
    name: String,
}

/// The character between two fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Delimiter(u8);

/// Why a text is not a [`Column`] or a [`Delimiter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum LayoutError {
    #[error("not of the form MEMBER=NAME, such as code=Slug")]
    Form,
    #[error("{0:?} is not a member of a link; use one of {known}", known = NAMED.join(", "))]
    Member(String),
    #[error("write one ASCII punctuation character, a blank, or \"tab\"")]
    Delimiter,
    #[error("--column {0}= is given twice")]
    Twice(&'static str),
}

impl FromStr for Column {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        let (member, name) = text.split_once('=').ok_or(LayoutError::Form)?;
        let known = NAMED.iter().find(|known| **known == member);
        let member = known.ok_or_else(|| LayoutError::Member(member.into()))?;
        if name.trim().is_empty() {
            return Err(LayoutError::Form);
        }
        let name = name.trim().to_owned();
        Ok(Self { member, name })
    }
}

impl FromStr for Delimiter {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        match text.as_bytes() {
            b"tab" | b"\\t" => Ok(Self(b'\t')),
            [byte] if *byte == b'\t' || byte.is_ascii_punctuation() && *byte != b'"' => {
                Ok(Self(*byte))
            }
            b" " => Ok(Self(b' ')),
            _ => Err(LayoutError::Delimiter),
        }
    }
}

impl Layout {
    /// The options as they were given.
    ///
    /// # Errors
    /// Two columns are given for one member.
    pub(super) fn new(
        columns: Vec<Column>,
        delimiter: Option<Delimiter>,
    ) -> Result<Self, LayoutError> {
        for (index, column) in columns.iter().enumerate() {
            if columns[..index]
                .iter()
                .any(|other| other.member == column.member)
            {
                return Err(LayoutError::Twice(column.member));
            }
        }
        Ok(Self { columns, delimiter })
    }

    /// The delimiters to try, in this order.
    pub(super) fn delimiters(&self) -> Cow<'static, [u8]> {
        match self.delimiter {
            Some(Delimiter(delimiter)) => vec![delimiter].into(),
            None => DELIMITERS[..].into(),
        }
    }

    /// The options in a form for the state of an import: with other options the file has other records.
    pub(super) fn describe(&self) -> String {
        let mut text = "csv".to_owned();
        for Column { member, name } in &self.columns {
            text += &format!(" {member}={name:?}");
        }
        if let Some(Delimiter(delimiter)) = self.delimiter {
            text += &format!(" delimiter={:?}", char::from(delimiter));
        }
        text
    }
}

/// The member in each column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns(Vec<Option<&'static str>>);

impl Columns {
    /// Reads a header. Letter case, blanks, hyphens and underscores do not matter, and columns of other names are
    /// ignored. `--column` takes precedence over the names in the header.
    ///
    /// # Errors
    /// A column is missing, or a name occurs twice.
    pub(super) fn read(header: Option<Read<Fields>>, layout: &Layout) -> anyhow::Result<Self> {
        let header = match header {
            Some(Read::Whole(header)) => header,
            Some(Read::NotClosed(line)) => {
                bail!("line {line}: a quote in the header is not closed; close it, or remove it")
            }
            Some(Read::TooLong) => bail!("the header has more than {MAX_LEN} bytes"),
            None => bail!("there is no header line"),
        };
        check_text(&header)?;
        let names: Vec<_> = header.iter().map(|n| String::from_utf8_lossy(n)).collect();
        let shown: String = one_line(&names.join(",")).chars().take(MAX_SHOWN).collect();
        let mut columns = Self::by_name(&names, layout)?;
        for Column { member, name } in &layout.columns {
            let wanted = |found: &Cow<'_, str>| found.trim().eq_ignore_ascii_case(name);
            let mut places = (0..names.len()).filter(|i| wanted(&names[*i]));
            match (places.next(), places.next()) {
                (Some(place), None) => columns[place] = Some(member),
                (None, _) => bail!("the header {shown:?} has no column {name:?}"),
                (Some(_), Some(_)) => bail!("the header has the column {name:?} twice"),
            }
        }
        let any = |wanted: &[&str]| columns.iter().flatten().any(|name| wanted.contains(name));
        if !any(&KEYS) {
            bail!(
                "the header {shown:?} has no column for the code, such as {}; name the column with --column code=NAME, \
                 or use `tinyns import urls` for URLs without codes",
                KEYS.join(", ")
            );
        }
        if !any(&URLS) {
            bail!(
                "the header {shown:?} has no column for the URL, such as {}; name the column with --column url=NAME",
                URLS.join(", ")
            );
        }
        Ok(Self(columns))
    }

    /// Whether these fields are a header.
    pub(super) fn fits(fields: &Fields, layout: &Layout) -> bool {
        Self::read(Some(Read::Whole(fields.clone())), layout).is_ok()
    }

    /// The members by the names in the header, without those that `--column` names.
    fn by_name(
        names: &[Cow<'_, str>],
        layout: &Layout,
    ) -> anyhow::Result<Vec<Option<&'static str>>> {
        // If `--column` names the column of the code, other columns with names of a code do not count; nor
        // those of the URL and the end.
        let kind = |name: &str| match name {
            name if KEYS.contains(&name) => "code",
            name if URLS.contains(&name) => "url",
            "expiresAt" | "expires_at" => "expires_at",
            _ => "",
        };
        let given = |name: &'static str| {
            let same =
                |other: &str| other == name || !kind(name).is_empty() && kind(other) == kind(name);
            layout.columns.iter().any(|column| same(column.member))
        };
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let known = member(name.trim()).filter(|known| !given(known));
            if known.is_some() && columns.contains(&known) {
                bail!(
                    "the header has the column {:?} twice",
                    one_line(name.trim())
                );
            }
            columns.push(known);
        }
        Ok(columns)
    }

    /// The record of a row.
    pub(super) fn record(&self, line: u64, fields: Fields) -> Record {
        // A field beyond the last column may be the end of a URL that has a comma in it. Without that end the link
        // would lead elsewhere.
        let beyond = fields.iter().skip(self.0.len()).flatten();
        if !beyond.copied().all(|byte| byte.is_ascii_whitespace()) {
            let reason = format!(
                "it has {} fields, and the header has {}; put fields that contain the delimiter in double quotes",
                fields.len(),
                self.0.len()
            );
            return Record::bad(Some(line), reason);
        }
        let mut members = Map::new();
        for (name, field) in self.0.iter().zip(fields) {
            let Some(name) = name else {
                continue;
            };
            match String::from_utf8(field) {
                Ok(text) => members.insert((*name).into(), Value::String(text)),
                Err(_) => return Record::bad(Some(line), format!("{name} is not UTF-8 text")),
            };
        }
        Record::from_members(Some(line), members)
    }
}

/// Refuses a header that is not text: files of other kinds may be called `.csv`, and if lines have other ends, the
/// whole file would be the header.
fn check_text(header: &Fields) -> anyhow::Result<()> {
    for name in header {
        for (index, byte) in name.iter().enumerate() {
            match (byte, name.get(index + 1)) {
                (b'\t' | b'\n', _) | (b'\r', Some(b'\n')) => {}
                (b'\r', _) => bail!(
                    "the header contains a carriage return that does not end a line; end lines with LF or CRLF, for \
                     instance with `tr '\\r' '\\n'`"
                ),
                (byte, _) if byte.is_ascii_control() => bail!(
                    "the header has the control character {byte:#04x}, so this is not text; save the file as CSV in \
                     UTF-8, or in UTF-16 with a byte order mark"
                ),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(columns: &[&str]) -> Layout {
        let columns = columns.iter().map(|column| column.parse().unwrap());
        Layout::new(columns.collect(), None).unwrap()
    }

    fn read(header: &str, given: &[&str]) -> Result<Vec<Option<&'static str>>, String> {
        let fields = header.split(',').map(|field| field.as_bytes().to_vec());
        let header = Some(Read::Whole(fields.collect()));
        match Columns::read(header, &layout(given)) {
            Ok(columns) => Ok(columns.0),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn headers_of_other_shorteners() {
        let check = |header: &str, expected: &[&str]| {
            let found = read(header, &[]).unwrap();
            let found: Vec<_> = found.into_iter().flatten().collect();
            assert_eq!(found, expected, "{header}");
        };
        // The exports of Shlink's web client, and the imports of Shlink itself.
        check(
            "createdAt,title,shortUrl,domain,shortCode,longUrl,tags,visits",
            &["title", "shortUrl", "shortCode", "longUrl", "tags"],
        );
        check(
            "Long URL,Tags,Domain,Short code,Title",
            &["longUrl", "tags", "shortCode", "title"],
        );
        // The table of YOURLS, and the exports of its plugins.
        check(
            "keyword,url,title,timestamp,ip,clicks",
            &["keyword", "url", "title"],
        );
        // The page of Bitly, and its API.
        check(
            "Link,Custom Link,Destination URL,Title",
            &["link", "customLink", "destinationUrl", "title"],
        );
        check(
            "created_at,id,link,long_url,title",
            &["link", "longUrl", "title"],
        );
        check("BITLINK,LONG_URL", &["bitlink", "longUrl"]);
        // The exports of tinyns.
        check(
            "code,name,url,created_at,expires_at,ttl",
            &["code", "name", "url", "expires_at", "ttl"],
        );
        check("MiniURL, full-url ", &["miniUrl", "fullUrl"]);
    }

    #[test]
    fn the_command_line_takes_precedence() {
        let all = |header: &str, given: &[&str]| read(header, given).unwrap();
        assert_eq!(
            all("Slug,Target,code", &["code=slug", "url=TARGET"]),
            [Some("code"), Some("url"), None]
        );
        assert_eq!(
            all("url,long_url,keyword", &["code=url", "url=long_url"]),
            [Some("code"), Some("url"), None]
        );
        assert_eq!(
            all(
                "a,b,expiresAt,until",
                &["code=a", "url=b", "expires_at=until"]
            ),
            [Some("code"), Some("url"), None, Some("expires_at")]
        );
        let refused = |header: &str, given: &[&str], expected: &str| {
            assert_eq!(read(header, given), Err(expected.into()), "{header}");
        };
        refused(
            "code,url",
            &["code=Slug"],
            "the header \"code,url\" has no column \"Slug\"",
        );
        refused(
            "a,A,url",
            &["code=a"],
            "the header has the column \"a\" twice",
        );
        let parse = |text: &str| text.parse::<Column>().unwrap_err().to_string();
        assert_eq!(
            parse("code"),
            "not of the form MEMBER=NAME, such as code=Slug"
        );
        assert_eq!(
            parse("code="),
            "not of the form MEMBER=NAME, such as code=Slug"
        );
        assert_eq!(
            parse("clicks=Clicks"),
            "\"clicks\" is not a member of a link; use one of code, name, url, expires_at, ttl, title, tags, note"
        );
        let twice = ["code=a", "code=b"].map(|column| column.parse().unwrap());
        assert_eq!(
            Layout::new(twice.into(), None),
            Err(LayoutError::Twice("code"))
        );
    }

    #[test]
    fn delimiters() {
        let ok = |text: &str, byte: u8| assert_eq!(text.parse(), Ok(Delimiter(byte)), "{text:?}");
        ok(";", b';');
        ok("\t", b'\t');
        ok("tab", b'\t');
        ok("\\t", b'\t');
        ok("|", b'|');
        ok(" ", b' ');
        for text in ["", "\"", "a", "7", ",,", "\n", "\r", "€", "comma"] {
            assert_eq!(
                text.parse::<Delimiter>(),
                Err(LayoutError::Delimiter),
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_options_are_part_of_the_state() {
        assert_eq!(layout(&[]).describe(), "csv");
        let delimiter = Some(Delimiter(b'\t'));
        let other = Layout {
            delimiter,
            ..layout(&["code=a b"])
        };
        assert_eq!(other.describe(), "csv code=\"a b\" delimiter='\\t'");
    }
}
