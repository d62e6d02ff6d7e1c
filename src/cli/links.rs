//! `tinyns add`, `get` and `health`: one request to the admin API, and its answer in a form for people.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::api_client::{Answer, Api, NewLink};
use super::args::{AddArgs, GetArgs, HealthArgs, load};
use super::client::{Client, admin_url};
use super::outcome::{Exit, UsageError};
use super::output::{print, say};
use crate::base::clock::Clock;
use crate::base::text::one_line;

/// Creates a link, and prints it.
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
        "the link exists already and was not changed; ignored: {}",
        options(&ignored)
    ));
    Ok(Exit::Ignored)
}

/// An option of `add`, and its name in the API.
type AddOption = (&'static str, &'static str);

/// The options that were ignored, since the link existed already and differs from them.
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

/// Looks up a link, and prints it.
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

/// Asks for the state of the server, and prints it if the server is healthy.
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

fn json(answer: &Answer) -> String {
    format!("{}\n", answer.json.trim_end())
}

/// What `add --json` prints: the API's answer with two more members. They are appended as text, so the API's own
/// members stay as they are.
fn added_json(answer: &Answer, ignored: &[AddOption]) -> String {
    let names: Vec<_> = ignored
        .iter()
        .map(|(_, name)| format!("\"{name}\""))
        .collect();
    let (created, names) = (answer.created, names.join(","));
    // The answer was parsed as an object with members, so it ends with this bracket.
    let link = answer.json.trim_end();
    let link = link.strip_suffix('}').unwrap_or(link);
    format!("{link},\"created\":{created},\"ignored\":[{names}]}}\n")
}

/// What `add` prints. The first line has only the name, for scripts.
fn added(answer: &Answer, ignored: &[AddOption], dns: Option<SocketAddr>) -> String {
    let mut text = describe(answer, dns);
    if !answer.created {
        let note = "the link exists already and was not changed";
        row(&mut text, "note", note);
    }
    if !ignored.is_empty() {
        row(&mut text, "ignored", &options(ignored));
    }
    if answer.link.visible_elsewhere == Some(false) {
        row(
            &mut text,
            "note",
            "other servers do not show it yet: this server cannot announce it through Redis; see /readyz",
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

/// The command that resolves a name; without the address of a server it asks the system's resolver.
fn dig(name: &str, dns: Option<SocketAddr>) -> String {
    match dns {
        Some(dns) if dns.port() == 53 => format!("dig @{} TXT {name} +short", dns.ip()),
        // With port 0 only the log of the server has the port.
        Some(dns) if dns.port() != 0 => {
            format!("dig @{} -p {} TXT {name} +short", dns.ip(), dns.port())
        }
        _ => format!("dig TXT {name} +short"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::api_client::testing::LINK;
    use crate::cli::client::reachable;

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
             note       the link exists already and was not changed\n  \
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
    fn ignored_options() {
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
        // An option that the link already has is not ignored.
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
