//! `tinyns export`: all links of a running server, page by page, in a form that `import` reads.
//!
//! A line of NDJSON is a link as the API shows it; a row of CSV has the same members without the short URL and
//! the version. A file gets its name only once it is complete, since a reader could not tell that it is cut
//! short. Links that are created or deleted during the export may be missing; every other link is in it once.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use super::api_client::{Link, PAGE_LINKS, Page};
use super::args::{ExportArgs, ExportFormat};
use super::client::Client;
use super::output_file::OutputFile;
use super::stop::Stop;
use super::transfer::{self, Screen, Server};
use crate::base::progress::{Extent, Progress};
use crate::link::{Origin, TargetUrl, list_text};

/// The header of CSV.
const HEADER: &str = "code,name,url,created_at,expires_at,ttl,title,tags,note,withheld,withheld_reason,withheld_authority,destinations\r\n";

/// Writes all links.
///
/// # Errors
/// A zone cannot be read to its end, or the output cannot be written.
pub(super) fn run(args: ExportArgs, config: Option<&Path>) -> anyhow::Result<()> {
    let client = Arc::new(Client::new(&args.access, config)?);
    transfer::run(async {
        let mut stop = Stop::new().context("cannot handle signals")?;
        let output = Output::open(args.output.clone())?;
        let written = export(&args, client, &output);
        let ended = transfer::unless_stopped(&mut stop, written).await;
        output.end(ended.is_ok())?;
        ended
    })
}

async fn export(args: &ExportArgs, client: Arc<Client>, output: &Output) -> anyhow::Result<()> {
    let zones = match &args.zone {
        Some(zone) => vec![zone.clone()],
        None => transfer::ask(&client, |client| client.api.zones(&client.token)).await??,
    };
    let progress = Progress::new(Extent::Unknown, 0, 0, Instant::now());
    let screen = Screen::begin("export", progress);
    let server = Server::new(client, screen.clone());
    let mut done = 0;
    if args.format == ExportFormat::Csv {
        output.write(&screen, HEADER.into()).await?;
    }
    for zone in &zones {
        let mut cursor = None;
        loop {
            let page = page(&server, zone, cursor).await?;
            done += page.links.len() as u64;
            let text = page.links.iter().map(|link| written(link, args.format));
            if !output.write(&screen, text.collect()).await? {
                screen.end();
                return Ok(());
            }
            screen.update(done, 0);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    screen.end();
    let noun = if zones.len() == 1 { "zone" } else { "zones" };
    screen.say(&format!("exported {done} links of {} {noun}", zones.len()));
    Ok(())
}

/// A page of links; the call is repeated while the server is away for a short time.
async fn page(server: &Server, zone: &Origin, cursor: Option<String>) -> anyhow::Result<Page> {
    let zone = zone.clone();
    let list = move |client: &Client| {
        let (token, cursor) = (&client.token, cursor.as_deref());
        client.api.list(token, &zone, &[], cursor, PAGE_LINKS)
    };
    Ok(server.insist(list).await??)
}

/// A link as a line, with its end.
fn written(link: &Link, format: ExportFormat) -> String {
    match format {
        // Texts and numbers always serialise.
        ExportFormat::Ndjson => serde_json::to_string(link).unwrap_or_default() + "\n",
        ExportFormat::Csv => {
            let ttl = link.ttl.map(|ttl| ttl.to_string());
            let tags = tags(&link.tags);
            let destinations = link.destinations.as_deref().unwrap_or_default();
            let destinations = list_text(destinations, " ");
            let withheld = link.withheld.as_ref();
            let authority = withheld.and_then(|withheld| withheld.grounds.authority());
            let fields = [
                link.code.as_deref(),
                Some(link.name.as_str()),
                Some(link.url.as_str()),
                link.created_at.as_deref(),
                link.expires_at.as_deref(),
                ttl.as_deref(),
                link.title.as_deref(),
                Some(tags.as_str()),
                link.note.as_deref(),
                withheld.map(|withheld| withheld.grounds.kind()),
                withheld.map(|withheld| withheld.reason.as_str()),
                authority.map(TargetUrl::as_str),
                Some(destinations.as_str()),
            ];
            let fields = fields.map(|field| quoted(field.unwrap_or_default()));
            fields.join(",") + "\r\n"
        }
    }
}

/// Tags in one field. The imports of other shorteners have `|` between two tags, so a single tag that has one gets a
/// comma behind it.
fn tags(tags: &[String]) -> String {
    match tags {
        [tag] if tag.contains('|') => format!("{tag},"),
        tags => tags.join(","),
    }
}

/// A field of CSV (RFC 4180 §2, 6 and 7).
fn quoted(field: &str) -> Cow<'_, str> {
    match field.contains(['"', ',', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")).into(),
        false => field.into(),
    }
}

/// The output.
enum Output {
    Stdout,
    File(OutputFile),
}

impl Output {
    fn open(path: Option<PathBuf>) -> anyhow::Result<Self> {
        match path.filter(|path| path != Path::new("-")) {
            None => Ok(Self::Stdout),
            Some(path) => Ok(Self::File(OutputFile::open(&path)?)),
        }
    }

    /// Writes whole lines. Returns false if the reader of standard output has closed it early, which is no
    /// failure.
    async fn write(&self, screen: &Screen, text: String) -> anyhow::Result<bool> {
        let written = match self {
            Self::Stdout => screen.write(io::stdout(), text).await?.map(drop),
            Self::File(output) => screen
                .write(Arc::clone(&output.file), text)
                .await?
                .map(drop),
        };
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).context("cannot write the links"),
        }
    }

    /// Gives the file its name if it is complete, and removes it otherwise.
    fn end(self, whole: bool) -> anyhow::Result<()> {
        match self {
            Self::File(output) if whole => output.keep(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::link::{Withheld, read_list};

    fn link(url: &str, expires_at: Option<&str>, ttl: Option<u32>) -> Link {
        Link {
            code: Some("x".into()),
            name: "x.s.example.com".into(),
            short_url: Some("http://x.s.example.com/".into()),
            url: url.into(),
            destinations: None,
            created_at: Some("2026-01-01T00:00:00Z".into()),
            created_by: Some("admin".into()),
            expires_at: expires_at.map(Into::into),
            ttl,
            title: None,
            tags: Vec::new(),
            note: None,
            withheld: None,
            version: Some(9),
            visible_elsewhere: None,
            visible: None,
        }
    }

    #[test]
    fn lines_of_json_are_as_the_api_shows_links() {
        let link = link("https://example.net/", None, Some(60));
        assert_eq!(
            written(&link, ExportFormat::Ndjson),
            "{\"code\":\"x\",\"name\":\"x.s.example.com\",\
             \"short_url\":\"http://x.s.example.com/\",\"url\":\"https://example.net/\",\
             \"created_at\":\"2026-01-01T00:00:00Z\",\"created_by\":\"admin\",\"expires_at\":null,\"ttl\":60,\
             \"title\":null,\"tags\":[],\"note\":null,\"withheld\":null,\"version\":9}\n"
        );
    }

    #[test]
    fn rfc_4180_2_fields_are_quoted_where_they_must() {
        let check = |url: &str, expected: &str| {
            let link = link(url, Some("2030-01-01T00:00:00Z"), None);
            assert_eq!(
                written(&link, ExportFormat::Csv),
                format!(
                    "x,x.s.example.com,{expected},2026-01-01T00:00:00Z,2030-01-01T00:00:00Z,,,,,,,,\r\n"
                )
            );
        };
        check("https://example.net/", "https://example.net/");
        check("https://example.net/a,b", "\"https://example.net/a,b\"");
        check("a\"b", "\"a\"\"b\"");
        check("a\nb", "\"a\nb\"");
        assert_eq!(
            HEADER.split(',').count(),
            written(&link("u", None, None), ExportFormat::Csv)
                .split(',')
                .count()
        );
    }

    #[test]
    fn texts_are_written() {
        let link = Link {
            title: Some("Sale, autumn".into()),
            tags: vec!["a".into(), "b".into()],
            note: Some("one\ntwo".into()),
            withheld: Withheld::parse("legal", "Order 12", Some("https://court.example/")).ok(),
            destinations: read_list("u 10 3 v 20").ok(),
            ..link("u", None, None)
        };
        assert_eq!(
            written(&link, ExportFormat::Csv),
            "x,x.s.example.com,u,2026-01-01T00:00:00Z,,,\"Sale, autumn\",\"a,b\",\"one\ntwo\",legal,Order 12,https://court.example/,u 10 3 v 20 1\r\n"
        );
        assert_eq!(tags(&["a|b".into()]), "a|b,");
        assert_eq!(tags(&["a".into()]), "a");
    }

    #[test]
    fn a_file_gets_its_name_once_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("links");
        fs::write(&path, "old").unwrap();
        for (whole, expected) in [(false, "old"), (true, "new")] {
            let output = Output::open(Some(path.clone())).unwrap();
            let Output::File(written) = &output else {
                panic!("no file");
            };
            (&*written.file).write_all(b"new").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "old");
            output.end(whole).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        // `-` is standard output and not a file of that name.
        let stdout = Output::open(Some("-".into())).unwrap();
        assert!(matches!(stdout, Output::Stdout));
        // A device is not replaced.
        let device = Output::open(Some("/dev/null".into())).unwrap();
        assert!(matches!(&device, Output::File(file) if !file.is_draft()));
        device.end(true).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
