//! `tinyns add`, `get` and `health`: one request to the admin API, and its answer for people.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::api_client::{Answer, Api, NewLink, is_loopback, parse_server};
use super::{AccessArgs, AddArgs, Exit, GetArgs, HealthArgs, UsageError, load, print, say};
use crate::base::clock::Clock;
use crate::base::environment;
use crate::base::files::read_regular;
use crate::base::text::one_line;
use crate::config::Config;
use crate::server::TOKEN_VARIABLE;

/// How much of a token file is read, in bytes; its first line is the token.
const MAX_TOKEN_FILE_LEN: u64 = 1_024;

/// Why a request cannot even be made.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("the configuration switches the admin API off (admin.listen); name one with --server")]
    NoAdmin,
    #[error("no token for {0}: set {TOKEN_VARIABLE} or name a file with --token-file")]
    NoToken(Url),
    #[error("{TOKEN_VARIABLE} is not UTF-8 text")]
    TokenVariable,
    #[error("cannot read the token file {}; the server makes it on its first start", .file.display())]
    NoTokenFile { file: PathBuf, source: io::Error },
    #[error("the first line of {0} is not a token: visible ASCII characters and no blanks")]
    NotAToken(String),
}

/// Makes a link, and prints it.
pub(super) fn add(args: AddArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let expires_at = match args.expires {
        Some(expires) => Some(expires.rfc3339(Clock::default().now())?),
        None => None,
    };
    let new = NewLink {
        url: &args.url,
        code: args.code.as_ref().map(|code| code.as_str()),
        expires_at: expires_at.as_deref(),
        ttl: args.ttl,
    };
    let client = Client::new(&args.client.access, config)?;
    let zone = args.client.zone.as_ref();
    let answer = client.api.create(&client.token, zone, &new)?;
    let ignored = ignored(&new, &answer);
    print(&match args.client.json {
        true => added_json(&answer, &ignored),
        false => added(&answer, &ignored, client.dns),
    })?;
    if ignored.is_empty() {
        return Ok(Exit::Done);
    }
    say(&format!(
        "the link was there already and is unchanged; ignored: {}",
        options(&ignored)
    ));
    Ok(Exit::Ignored)
}

/// An option of `add`, and what the API calls it.
type AddOption = (&'static str, &'static str);

/// The options that were given and do not hold, since the link was there already and has it otherwise.
fn ignored(asked: &NewLink<'_>, answer: &Answer) -> Vec<AddOption> {
    let link = &answer.link;
    let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let same_end = |asked: &str| link.expires_at.as_deref().and_then(time) == time(asked);
    let same_code = |asked: &str| link.code.as_deref() == Some(asked);
    let holds = [
        (("--code", "code"), asked.code.is_none_or(same_code)),
        (
            ("--expires", "expires_at"),
            asked.expires_at.is_none_or(same_end),
        ),
        (
            ("--ttl", "ttl"),
            asked.ttl.is_none() || asked.ttl == link.ttl,
        ),
    ];
    let broken = holds
        .into_iter()
        .filter(|(_, holds)| !answer.created && !holds);
    broken.map(|(option, _)| option).collect()
}

/// The names of options, for people.
fn options(ignored: &[AddOption]) -> String {
    let names: Vec<_> = ignored.iter().map(|(option, _)| *option).collect();
    names.join(", ")
}

/// Looks a link up, and prints it.
pub(super) fn get(args: GetArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let zone = args.link.zone(args.client.zone);
    let zone = zone.map_err(|error| UsageError(error.to_string()))?;
    let client = Client::new(&args.client.access, config)?;
    let answer = client
        .api
        .get(&client.token, zone.as_ref(), &args.link.code)?;
    print(&match args.client.json {
        true => json(&answer),
        false => shown(&answer, client.dns),
    })?;
    Ok(Exit::Done)
}

/// Asks how the server stands, and prints it where that is well.
pub(super) fn health(args: HealthArgs, config: Option<&Path>) -> anyhow::Result<Exit> {
    let server = match args.server.server {
        Some(server) => server,
        None => admin_url(&load(config)?)?,
    };
    let readiness = Api::new(server).readiness()?;
    anyhow::ensure!(readiness.is_well(args.changes), "{readiness}");
    print(&format!("{readiness}\n"))?;
    Ok(Exit::Done)
}

/// An admin API with what it takes to use it.
pub(super) struct Client {
    pub(super) api: Api,
    pub(super) token: String,
    /// Where its server answers queries, if that is known.
    dns: Option<SocketAddr>,
}

impl Client {
    pub(super) fn new(args: &AccessArgs, path: Option<&Path>) -> anyhow::Result<Self> {
        let variable = environment::value(TOKEN_VARIABLE);
        let named = match (&args.token_file, variable) {
            (Some(file), _) => Some(token_in(file)?),
            (None, Some(token)) => {
                let token = token
                    .into_string()
                    .map_err(|_| ClientError::TokenVariable)?;
                Some(first_line(&token, TOKEN_VARIABLE)?)
            }
            (None, None) => None,
        };
        if let Some(server) = args.server.server.clone() {
            let token = match named {
                Some(token) => token,
                // The token of this machine's server is not for any other server, unless the
                // operator says so by naming the configuration that holds it.
                None if path.is_none() && !is_loopback(&server) => {
                    return Err(ClientError::NoToken(server).into());
                }
                None => token_in(&load(path)?.admin.token_file)?,
            };
            return Ok(Self {
                api: Api::new(server),
                token,
                dns: None,
            });
        }
        let config = load(path)?;
        let server = admin_url(&config)?;
        let token = match named {
            Some(token) => token,
            None => token_in(&config.admin.token_file)?,
        };
        Ok(Self {
            api: Api::new(server),
            token,
            dns: config.dns.listen.first().copied().map(reachable),
        })
    }
}

/// The admin API that a configuration describes, as seen from its own machine.
fn admin_url(config: &Config) -> anyhow::Result<Url> {
    let address = config.admin.listen.first().ok_or(ClientError::NoAdmin)?;
    let url = format!("http://{}", reachable(*address));
    parse_server(&url).with_context(|| format!("cannot make a URL of {address}"))
}

/// Where a listener is reached from its own machine: "any address" is none to connect to.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The token in the first line of a file.
fn token_in(file: &Path) -> Result<String, ClientError> {
    let read = read_regular(file, MAX_TOKEN_FILE_LEN);
    let bytes = read.map_err(|source| ClientError::NoTokenFile {
        file: file.into(),
        source,
    })?;
    first_line(
        &String::from_utf8_lossy(&bytes),
        &file.display().to_string(),
    )
}

/// A text's first line as a token. It goes into a header, so it must not hold a line break; what it
/// is instead is not shown, since it may be a secret with a typo.
fn first_line(text: &str, origin: &str) -> Result<String, ClientError> {
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ClientError::NotAToken(origin.into()));
    }
    Ok(token.into())
}

fn json(answer: &Answer) -> String {
    format!("{}\n", answer.json.trim_end())
}

/// What `add --json` prints: the API's answer with two members more. They are put behind its own as text, which keeps
/// those as they came.
fn added_json(answer: &Answer, ignored: &[AddOption]) -> String {
    let names: Vec<_> = ignored
        .iter()
        .map(|(_, name)| format!("\"{name}\""))
        .collect();
    let (created, names) = (answer.created, names.join(","));
    // The answer was read as an object that has members; so this is its last bracket.
    let link = answer.json.trim_end();
    let link = link.strip_suffix('}').unwrap_or(link);
    format!("{link},\"created\":{created},\"ignored\":[{names}]}}\n")
}

/// What `add` prints. The name stands alone in the first line, where a script finds it.
fn added(answer: &Answer, ignored: &[AddOption], dns: Option<SocketAddr>) -> String {
    let mut text = describe(answer, dns);
    if !answer.created {
        let note = "the link was there already and is unchanged";
        row(&mut text, "note", note);
    }
    if !ignored.is_empty() {
        row(&mut text, "ignored", &options(ignored));
    }
    if answer.link.visible_elsewhere == Some(false) {
        row(
            &mut text,
            "note",
            "other servers do not show it yet: this one cannot announce it through Redis; see /readyz",
        );
    }
    text
}

/// What `get` prints.
fn shown(answer: &Answer, dns: Option<SocketAddr>) -> String {
    let mut text = describe(answer, dns);
    if let Some(created) = &answer.link.created_at {
        row(&mut text, "made", created);
    }
    text
}

fn describe(answer: &Answer, dns: Option<SocketAddr>) -> String {
    let link = &answer.link;
    let mut text = format!("{}\n", link.name);
    if let Some(short_url) = &link.short_url {
        row(&mut text, "short URL", short_url);
    }
    row(&mut text, "leads to", &link.url);
    if let Some(expires) = &link.expires_at {
        row(&mut text, "ends", expires);
    }
    if let Some(ttl) = link.ttl {
        row(&mut text, "TTL", &format!("{ttl} seconds"));
    }
    row(&mut text, "look up", &dig(&link.name, dns));
    text
}

fn row(text: &mut String, label: &str, value: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "  {label:<9}  {}", one_line(value));
}

/// The command that resolves a name; without a server's address it asks the system's resolver.
fn dig(name: &str, dns: Option<SocketAddr>) -> String {
    match dns {
        Some(dns) if dns.port() == 53 => format!("dig @{} TXT {name} +short", dns.ip()),
        // Port 0 stands for one that only the server's log tells.
        Some(dns) if dns.port() != 0 => {
            format!("dig @{} -p {} TXT {name} +short", dns.ip(), dns.port())
        }
        _ => format!("dig TXT {name} +short"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::api_client::tests::LINK;

    fn answer(created: bool, json: &str) -> Answer {
        Answer {
            link: serde_json::from_str(json).unwrap(),
            created,
            json: json.into(),
        }
    }

    #[test]
    fn what_add_prints() {
        let dns = Some("127.0.0.1:5300".parse().unwrap());
        assert_eq!(
            added(&answer(true, LINK), &[], dns),
            "sale.s.example.com\n  \
             short URL  http://sale.s.example.com/\n  \
             leads to   https://example.net/\n  \
             look up    dig @127.0.0.1 -p 5300 TXT sale.s.example.com +short\n"
        );
        let json = LINK
            .replace("\"ttl\":null", "\"ttl\":60")
            .replace(
                "\"expires_at\":null",
                "\"expires_at\":\"2027-01-01T00:00:00Z\"",
            )
            .replace("\"http://sale.s.example.com/\"", "null");
        assert_eq!(
            added(&answer(false, &json), &[("--ttl", "ttl")], None),
            "sale.s.example.com\n  \
             leads to   https://example.net/\n  \
             ends       2027-01-01T00:00:00Z\n  \
             TTL        60 seconds\n  \
             look up    dig TXT sale.s.example.com +short\n  \
             note       the link was there already and is unchanged\n  \
             ignored    --ttl\n"
        );
    }

    #[test]
    fn what_get_prints() {
        assert_eq!(
            shown(&answer(false, LINK), None),
            "sale.s.example.com\n  \
             short URL  http://sale.s.example.com/\n  \
             leads to   https://example.net/\n  \
             look up    dig TXT sale.s.example.com +short\n  \
             made       2026-01-01T00:00:00Z\n"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let json = LINK.replace("https://example.net/", "https://\\u001b[2J/\\n");
        let text = added(&answer(true, &json), &[], None);
        assert!(
            text.contains("  leads to   https://\\u{1b}[2J/\\n\n"),
            "{text}"
        );
    }

    #[test]
    fn where_dig_asks() {
        let check = |listen: &str, expected: &str| {
            let dns = reachable(listen.parse().unwrap());
            assert_eq!(dig("a.b", Some(dns)), expected, "{listen}");
        };
        check("127.0.0.1:5300", "dig @127.0.0.1 -p 5300 TXT a.b +short");
        check("192.0.2.1:53", "dig @192.0.2.1 TXT a.b +short");
        check("0.0.0.0:53", "dig @127.0.0.1 TXT a.b +short");
        check("[::]:5300", "dig @::1 -p 5300 TXT a.b +short");
        check("127.0.0.1:0", "dig TXT a.b +short");
    }

    #[test]
    fn the_admin_api_of_a_configuration() {
        let url = |listen: &str| {
            let config = Config::parse(&format!("[admin]\nlisten = {listen}\n"), Path::new("t"));
            admin_url(&config.unwrap())
                .map(String::from)
                .map_err(|e| e.to_string())
        };
        assert_eq!(url("\"127.0.0.1:8053\"").unwrap(), "http://127.0.0.1:8053/");
        assert_eq!(url("\"0.0.0.0:8053\"").unwrap(), "http://127.0.0.1:8053/");
        assert_eq!(
            url("[\"[::]:80\", \"192.0.2.1:1\"]").unwrap(),
            "http://[::1]/"
        );
        assert_eq!(
            url("[]").unwrap_err(),
            "the configuration switches the admin API off (admin.listen); name one with --server"
        );
    }

    #[test]
    fn tokens() {
        let ok = |text: &str| first_line(text, "x").unwrap();
        assert_eq!(ok("secret"), "secret");
        assert_eq!(ok(" secret \r\nanything"), "secret");
        for text in ["", "\n", "\nsecret", "a b", "a\u{e9}", "a\u{7f}"] {
            assert_eq!(
                first_line(text, "x").unwrap_err().to_string(),
                "the first line of x is not a token: visible ASCII characters and no blanks",
                "{text:?}"
            );
        }
        let error = anyhow::Error::new(token_in(Path::new("/nonexistent/t")).unwrap_err());
        assert_eq!(
            format!("{error:#}"),
            "cannot read the token file /nonexistent/t; the server makes it on its first start: \
             No such file or directory (os error 2)"
        );
    }

    fn access(server: &str, token_file: Option<PathBuf>) -> AccessArgs {
        AccessArgs {
            server: super::super::ServerArgs {
                server: Some(parse_server(server).unwrap()),
            },
            token_file,
        }
    }

    #[test]
    fn a_foreign_server_does_not_get_this_machines_token() {
        // The variable would be a token that was named; the test says nothing where it is set.
        if environment::value(TOKEN_VARIABLE).is_some() {
            return;
        }
        let refused = |server: &str| {
            let client = Client::new(&access(server, None), None);
            client.err().unwrap().to_string()
        };
        assert_eq!(
            refused("https://dns.example/"),
            "no token for https://dns.example/: set TINYNS_ADMIN_TOKEN or name a file with \
             --token-file"
        );
        // Loopback gets as far as looking for the default token file, which is there where a server has run.
        if !Path::new("data/admin.token").exists() {
            assert!(refused("http://127.0.0.1:1/").starts_with("cannot read the token file data/"));
        }
    }

    #[test]
    fn options_that_do_not_hold() {
        let check = |created: bool, code, expires_at, ttl, expected: &[&str]| {
            let new = NewLink {
                url: "https://example.net/",
                code,
                expires_at,
                ttl,
            };
            let json = LINK.replace("\"ttl\":null", "\"ttl\":60").replace(
                "\"expires_at\":null",
                "\"expires_at\":\"2027-01-01T00:00:00Z\"",
            );
            let ignored = ignored(&new, &answer(created, &json));
            let names: Vec<_> = ignored.iter().map(|(option, _)| *option).collect();
            assert_eq!(names, expected, "{new:?}");
        };
        let end = Some("2028-01-01T00:00:00Z");
        check(false, None, None, None, &[]);
        check(true, Some("x"), end, Some(5), &[]);
        check(
            false,
            Some("x"),
            end,
            Some(5),
            &["--code", "--expires", "--ttl"],
        );
        // What the link has anyway is not ignored.
        let same = Some("2027-01-01T01:00:00+01:00");
        check(false, Some("sale"), same, Some(60), &[]);
        check(false, None, same, Some(61), &["--ttl"]);
    }

    #[test]
    fn what_add_prints_as_json() {
        let check = |created: bool, ignored: &[AddOption], expected: &str| {
            let text = added_json(&answer(created, LINK), ignored);
            let link = LINK.strip_suffix('}').unwrap();
            assert_eq!(text, format!("{link},{expected}}}\n"));
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        };
        check(true, &[], "\"created\":true,\"ignored\":[]");
        let two = [("--expires", "expires_at"), ("--ttl", "ttl")];
        check(
            false,
            &two,
            "\"created\":false,\"ignored\":[\"expires_at\",\"ttl\"]",
        );
    }
}
