//! What the columns of a CSV file mean: by the names in its header, or as the command line says.

use std::borrow::Cow;
use std::str::FromStr;

use anyhow::bail;
use serde_json::{Map, Value};

use super::record::{KEYS, Record, URLS, member};
use super::rows::{Fields, MAX_LEN, Read};
use crate::base::text::one_line;

/// What may stand between two fields where the command line does not say, in the order in which it
/// is tried.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// The members that a column can be by the command line.
const NAMED: [&str; 5] = ["code", "name", "url", "expires_at", "ttl"];
/// How much of a header a message shows, in characters.
const MAX_SHOWN: usize = 200;

/// What the command line says of a CSV file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) columns: Vec<Column>,
    pub(super) delimiter: Option<Delimiter>,
}

/// Which column a member of a link stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Column {
    member: &'static str,
    /// Its name in the header.
    name: String,
}

/// What stands between two fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Delimiter(u8);

/// Why a text is not a [`Column`] or a [`Delimiter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum LayoutError {
    #[error("not of the form MEMBER=NAME, such as code=Slug")]
    Form,
    #[error("{0:?} is no member of a link; there are {known}", known = NAMED.join(", "))]
    Member(String),
    #[error("neither one ASCII character that may stand between two fields nor \"tab\"")]
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
    /// What the command line says.
    ///
    /// # Errors
    /// It says of two columns that they are the same member.
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

    /// What may stand between two fields, in the order in which it is to be tried.
    pub(super) fn delimiters(&self) -> Cow<'static, [u8]> {
        match self.delimiter {
            Some(Delimiter(delimiter)) => vec![delimiter].into(),
            None => DELIMITERS[..].into(),
        }
    }

    /// For the state of an import: what tells one reading of a file from another.
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

/// Which member stands in which column.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns(Vec<Option<&'static str>>);

impl Columns {
    /// Reads a header. The letters' case, blanks, hyphens and underscores do not matter, and columns
    /// of other names are not looked at. What the command line says of a member comes before what
    /// the header seems to say.
    ///
    /// # Errors
    /// What is missing in the header, or in it twice.
    pub(super) fn read(header: Option<Read<Fields>>, layout: &Layout) -> anyhow::Result<Self> {
        let header = match header {
            Some(Read::Whole(header)) => header,
            Some(Read::NotClosed(line)) => {
                bail!("a quote in the header, in line {line}, is not closed")
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
                "the header {shown:?} has no column for the code, as {} are; name it with --column code=NAME, \
                 and take `tinyns import urls` for URLs without codes",
                KEYS.join(", ")
            );
        }
        if !any(&URLS) {
            bail!(
                "the header {shown:?} has no column for the URL, as {} are; name it with --column url=NAME",
                URLS.join(", ")
            );
        }
        Ok(Self(columns))
    }

    /// Whether these fields are a header.
    pub(super) fn fits(fields: &Fields, layout: &Layout) -> bool {
        Self::read(Some(Read::Whole(fields.clone())), layout).is_ok()
    }

    /// What the names say, but for those members of which the command line says something.
    fn by_name(
        names: &[Cow<'_, str>],
        layout: &Layout,
    ) -> anyhow::Result<Vec<Option<&'static str>>> {
        // Where the code has a column, no other name of a code counts; the same with the URL.
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
        // What is behind the last column may be the rest of a URL with a comma in it. Without that rest the link
        // would lead elsewhere.
        let beyond = fields.iter().skip(self.0.len()).flatten();
        if !beyond.copied().all(|byte| byte.is_ascii_whitespace()) {
            let reason = format!(
                "it has {} fields, and the header has {}: a field with the delimiter in it has to be in double quotes",
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

/// Whether the names of a header are text: there are files of other kinds by the name of `.csv`, and where lines
/// end otherwise than they do here, the whole file would be the header.
fn check_text(header: &Fields) -> anyhow::Result<()> {
    for name in header {
        for (index, byte) in name.iter().enumerate() {
            match (byte, name.get(index + 1)) {
                (b'\t' | b'\n', _) | (b'\r', Some(b'\n')) => {}
                (b'\r', _) => bail!(
                    "a carriage return stands within the header: lines have to end with a line feed, with a carriage \
                     return before it or without; `tr '\\r' '\\n'` makes such lines of those of old Macs"
                ),
                (byte, _) if byte.is_ascii_control() => bail!(
                    "the header has the control character {byte:#04x}, so this is no text: save the file as CSV in \
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
        // Shlink's web client, and what Shlink itself imports.
        check(
            "createdAt,title,shortUrl,domain,shortCode,longUrl,tags,visits",
            &["shortUrl", "shortCode", "longUrl"],
        );
        check(
            "Long URL,Tags,Domain,Short code,Title",
            &["longUrl", "shortCode"],
        );
        // The table of YOURLS, and what its plugins make of it.
        check("keyword,url,title,timestamp,ip,clicks", &["keyword", "url"]);
        // Bitly's page, and its API.
        check(
            "Link,Custom Link,Destination URL,Title",
            &["link", "customLink", "destinationUrl"],
        );
        check("created_at,id,link,long_url,title", &["link", "longUrl"]);
        check("BITLINK,LONG_URL", &["bitlink", "longUrl"]);
        // Ours.
        check(
            "code,name,url,created_at,expires_at,ttl",
            &["code", "name", "url", "expires_at", "ttl"],
        );
        check("MiniURL, full-url ", &["miniUrl", "fullUrl"]);
    }

    #[test]
    fn what_the_command_line_says_comes_first() {
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
            parse("tags=Tags"),
            "\"tags\" is no member of a link; there are code, name, url, expires_at, ttl"
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
    fn a_state_tells_one_reading_from_another() {
        assert_eq!(layout(&[]).describe(), "csv");
        let delimiter = Some(Delimiter(b'\t'));
        let other = Layout {
            delimiter,
            ..layout(&["code=a b"])
        };
        assert_eq!(other.describe(), "csv code=\"a b\" delimiter='\\t'");
    }
}
