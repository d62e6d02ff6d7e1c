//! What people paste or upload to make many links: lines with a URL and, if they like, a code; or CSV with a header.
//!
//! Without a header only white space separates, because URLs may have commas.

use std::str::FromStr as _;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde_json::{Map, Value, json};

use super::when;
use crate::base::clock::UnixTime;
use crate::base::span;
use crate::link::read_list;

/// How many links one form may make.
pub(super) const MAX_ROWS: usize = 10_000;
/// The longest record of a CSV file, in bytes, and the most fields of one.
const MAX_RECORD_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 64;

/// A link to make.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// The number of its line, from 1.
    pub(super) line: u64,
    pub(super) url: String,
    /// The body of its creation.
    pub(super) body: Value,
}

/// Reads the rows. `now` is for ends that are spans.
///
/// # Errors
/// A sentence that says what is wrong with the whole.
pub(super) fn read(text: &str, now: UnixTime) -> Result<Vec<Row>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().find(|line| !line.trim().is_empty());
    let Some(first) = first else {
        return Err("There is no URL: paste some, or choose a file.".into());
    };
    let rows = match delimiter_of(first) {
        Some(delimiter) => csv(text, delimiter, now)?,
        None => lines(text),
    };
    match rows.len() {
        0 => Err("There is a header, and no URL below it.".into()),
        1..=MAX_ROWS => Ok(rows),
        more => Err(format!(
            "There are {more} URLs; at most {MAX_ROWS} are taken at once. Use tinyns import for more."
        )),
    }
}

/// The delimiter of a header, which has a field `url`; none if the line is no header.
fn delimiter_of(first: &str) -> Option<u8> {
    let is_header = |delimiter: char| {
        let mut fields = first.split(delimiter).map(plain);
        fields.any(|field| field == "url")
    };
    let found = [',', ';', '\t'].into_iter().find(|c| is_header(*c));
    found.and_then(|delimiter| u8::try_from(delimiter).ok())
}

/// The name of a column as it is compared.
fn plain(name: &str) -> String {
    let name = name.trim().trim_matches('"').trim();
    name.to_ascii_lowercase().replace([' ', '-'], "_")
}

fn lines(text: &str) -> Vec<Row> {
    let numbered = (1..).zip(text.lines());
    let mut rows = Vec::new();
    for (line, text) in numbered {
        let mut words = text.split_whitespace();
        let Some(url) = words.next() else {
            continue;
        };
        let mut body = Map::new();
        body.insert("url".into(), json!(url));
        let code: Vec<_> = words.collect();
        if !code.is_empty() {
            // More than one word is refused as a code.
            body.insert("code".into(), json!(code.join(" ")));
        }
        rows.push(Row {
            line,
            url: url.to_owned(),
            body: Value::Object(body),
        });
    }
    rows
}

fn csv(text: &str, delimiter: u8, now: UnixTime) -> Result<Vec<Row>, String> {
    let mut records = Records {
        reader: ReaderBuilder::new().delimiter(delimiter).build(),
        rest: text.as_bytes(),
        line: 1,
    };
    let header = records
        .next()?
        .map(|(_, fields)| fields)
        .unwrap_or_default();
    let columns: Vec<String> = header.iter().map(|name| plain(name)).collect();
    let mut rows = Vec::new();
    while let Some((line, fields)) = records.next()? {
        let (mut body, mut withheld) = (Map::new(), Map::new());
        for (column, field) in columns.iter().zip(&fields) {
            let field = field.trim();
            if let Some(name) = member_of_withheld(column)
                && !field.is_empty()
            {
                withheld.insert(name.into(), json!(field));
            }
            if let Some((name, value)) = member(column, field, now)
                && !field.is_empty()
            {
                body.insert(name.into(), value);
            }
        }
        if body.is_empty() {
            continue;
        }
        // Also if a part is missing: the API then refuses the row, instead of a link that leads somewhere again.
        if !withheld.is_empty() {
            body.insert("withheld".into(), Value::Object(withheld));
        }
        let url = body.get("url").and_then(Value::as_str);
        rows.push(Row {
            line,
            url: url.unwrap_or_default().to_owned(),
            body: Value::Object(body),
        });
    }
    Ok(rows)
}

/// A member of a creation. Columns of other names are left out. The API says what is wrong with a value.
fn member(column: &str, field: &str, now: UnixTime) -> Option<(&'static str, Value)> {
    Some(match column {
        "url" => ("url", json!(field)),
        "code" => ("code", json!(field)),
        // The API refuses what is no list.
        "destinations" => (
            "destinations",
            read_list(field).map_or_else(|_| json!(field), |list| json!(list)),
        ),
        "title" => ("title", json!(field)),
        "note" => ("note", json!(field)),
        "tags" => {
            let tags = field.split(',').map(str::trim);
            let tags: Vec<_> = tags.filter(|tag| !tag.is_empty()).collect();
            ("tags", json!(tags))
        }
        "ends" | "expires_at" | "expires" => {
            let end = when::end(field, now);
            (
                "expires_at",
                json!(end.unwrap_or_else(|_| field.to_owned())),
            )
        }
        "ttl" => {
            let span = span::parse(field).map(|span| span.as_secs());
            let seconds = u64::from_str(field).ok().or(span.ok());
            ("ttl", seconds.map_or_else(|| json!(field), |n| json!(n)))
        }
        _ => return None,
    })
}

/// The member of `withheld` that a column of an export has.
fn member_of_withheld(column: &str) -> Option<&'static str> {
    match column {
        "withheld" => Some("kind"),
        "withheld_reason" => Some("reason"),
        "withheld_authority" => Some("authority"),
        _ => None,
    }
}

/// The records of a CSV text.
struct Records<'a> {
    reader: Reader,
    rest: &'a [u8],
    /// The number of the line that `rest` begins in.
    line: u64,
}

impl Records<'_> {
    /// Goes on by this many bytes.
    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes);
        self.line += skipped
            .iter()
            .map(|byte| u64::from(*byte == b'\n'))
            .sum::<u64>();
        self.rest = rest;
    }

    /// The next record that is not empty, and the number of its line.
    fn next(&mut self) -> Result<Option<(u64, Vec<String>)>, String> {
        let (mut output, mut ends) = (vec![0; MAX_RECORD_BYTES], [0; MAX_FIELDS]);
        let (mut written, mut fields) = (0, 0);
        let is_break = |byte: &&u8| matches!(byte, b'\n' | b'\r');
        self.skip(self.rest.iter().take_while(is_break).count());
        let line = self.line;
        loop {
            let (result, read, out, ended) =
                self.reader
                    .read_record(self.rest, &mut output[written..], &mut ends[fields..]);
            self.skip(read);
            written += out;
            fields += ended;
            match result {
                // An empty input tells the reader that the text is over.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::OutputFull => {
                    return Err(format!(
                        "The record of line {line} has more than {MAX_RECORD_BYTES} bytes; a quote may not be closed."
                    ));
                }
                ReadRecordResult::OutputEndsFull => {
                    return Err(format!(
                        "The record of line {line} has more than {MAX_FIELDS} fields."
                    ));
                }
            }
        }
        let mut start = 0;
        let mut texts = Vec::with_capacity(fields);
        for end in &ends[..fields] {
            let text = output.get(start..*end).unwrap_or_default();
            texts.push(String::from_utf8_lossy(text).into_owned());
            start = *end;
        }
        Ok(Some((line, texts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_767_225_600);

    fn check(text: &str, expected: &[(u64, Value)]) {
        let rows = read(text, NOW).unwrap();
        let rows: Vec<_> = rows.into_iter().map(|row| (row.line, row.body)).collect();
        assert_eq!(rows, expected, "{text:?}");
    }

    #[test]
    fn lines_of_urls() {
        check(
            "\u{feff}https://a.example/x,y\r\n\n  https://b.example/ sale \nhttps://c.example/\tx y",
            &[
                (1, json!({"url": "https://a.example/x,y"})),
                (3, json!({"url": "https://b.example/", "code": "sale"})),
                (4, json!({"url": "https://c.example/", "code": "x y"})),
            ],
        );
    }

    #[test]
    fn csv_with_a_header() {
        check(
            "URL,Code,\"Tags\",Expires at,ttl,other\n\
             https://a.example/,a,\"x, y\",1d,5m,z\n\
             \n\
             \"https://b.example/\"\"\",,,2026-12-31,300\n\
             https://c.example/,,,soon,long\n",
            &[
                (
                    2,
                    json!({"url": "https://a.example/", "code": "a", "tags": ["x", "y"],
                    "expires_at": "2026-01-02T00:00:00Z", "ttl": 300}),
                ),
                (
                    4,
                    json!({"url": "https://b.example/\"", "expires_at": "2026-12-31T23:59:59Z", "ttl": 300}),
                ),
                (
                    5,
                    json!({"url": "https://c.example/", "expires_at": "soon", "ttl": "long"}),
                ),
            ],
        );
        check(
            "code;url\na;https://a.example/",
            &[(2, json!({"url": "https://a.example/", "code": "a"}))],
        );
        check(
            "title\turl\na\thttps://a.example/",
            &[(2, json!({"url": "https://a.example/", "title": "a"}))],
        );
    }

    #[test]
    fn what_is_wrong_with_the_whole() {
        let error = |text: &str| read(text, NOW).unwrap_err();
        assert!(error(" \n").contains("no URL"));
        assert!(error("url,code\n").contains("no URL below it"));
        let many = "https://a.example/\n".repeat(MAX_ROWS + 1);
        assert!(error(&many).contains("10001 URLs"));
        assert!(error(&format!("url\n\"{}", "x".repeat(MAX_RECORD_BYTES + 1))).contains("quote"));
        assert!(error(&format!("url\n{}", "x,".repeat(MAX_FIELDS))).contains("fields"));
    }
}
