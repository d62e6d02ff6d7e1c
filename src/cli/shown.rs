//! A link as commands show it to people: its name alone in the first line, for scripts, and then a row for each
//! property.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::api_client::{Answer, Link, Visible};
use super::outcome::Exit;
use crate::base::text::one_line;
use crate::link::Withheld;

/// What commands say of a change that other servers do not show yet.
pub(super) const NOT_VISIBLE: &str =
    "other servers do not show it yet: this server cannot announce it through Redis; see /readyz";

/// The answer of the API as a line.
pub(super) fn json(answer: &Answer) -> String {
    format!("{}\n", answer.json.trim_end())
}

/// The same with more members. They are appended as text, so the API's own members stay as they are.
pub(super) fn json_with(answer: &Answer, members: &str) -> String {
    // The answer was parsed as an object with members, so it ends with this bracket.
    let link = answer.json.trim_end();
    let link = link.strip_suffix('}').unwrap_or(link);
    format!("{link},{members}}}\n")
}

/// What `get` and `edit` print.
pub(super) fn link(answer: &Answer, dns: Option<SocketAddr>) -> String {
    let link = &answer.link;
    let mut text = describe(link, dns);
    if let Some(created) = &link.created_at {
        row(&mut text, "made", created);
    }
    if let Some(creator) = &link.created_by {
        row(&mut text, "made by", creator);
    }
    if let Some(version) = link.version {
        row(&mut text, "version", &version.to_string());
    }
    if link.visible_elsewhere == Some(false) {
        row(&mut text, "note", NOT_VISIBLE);
    }
    text
}

/// Which servers have a change, for a command that has waited for them.
pub(super) fn receipt(visible: &Visible) -> String {
    let Visible {
        servers, applied, ..
    } = visible;
    let mut text = match (visible.complete, servers) {
        (true, 1) => "the server, which is the only one, answers with it".into(),
        (true, servers) => format!("all {servers} answer with it"),
        (false, servers) => format!("{applied} of {servers} answer with it"),
    };
    if !visible.missing.is_empty() {
        let _ = write!(text, "; not yet: {}", visible.missing.join(", "));
    }
    if let Some(problem) = &visible.problem {
        let _ = write!(text, "; {problem}");
    }
    text
}

/// Adds the rows of a receipt.
pub(super) fn receipt_rows(text: &mut String, visible: Option<&Visible>) {
    let Some(visible) = visible else {
        return;
    };
    row(text, "servers", &receipt(visible));
    if let Some(until) = &visible.resolvers_until {
        let note = format!("may go on until {until} to say that there is no such name");
        row(text, "resolvers", &note);
    }
}

/// How a command ends that has waited for servers.
pub(super) fn exit_of(visible: Option<&Visible>) -> Exit {
    match visible {
        Some(Visible { complete: true, .. }) => Exit::Done,
        Some(_) | None => Exit::NotEverywhere,
    }
}

/// The name, and the rows that all commands have.
pub(super) fn describe(link: &Link, dns: Option<SocketAddr>) -> String {
    let mut text = format!("{}\n", link.name);
    if let Some(short_url) = &link.short_url {
        row(&mut text, "short URL", short_url);
    }
    match link.destinations.as_deref().unwrap_or_default() {
        [] => row(&mut text, "leads to", &link.url),
        several => {
            for (at, one) in several.iter().enumerate() {
                let label = if at == 0 { "leads to" } else { "or to" };
                let rank = format!("priority {}, weight {}", one.priority, one.weight);
                row(&mut text, label, &format!("{} ({rank})", one.url));
            }
        }
    }
    if let Some(withheld) = &link.withheld {
        row(&mut text, "withheld", &why(withheld));
    }
    if let Some(expires) = &link.expires_at {
        row(&mut text, "ends", expires);
    }
    if let Some(ttl) = link.ttl {
        row(&mut text, "TTL", &format!("{ttl} seconds"));
    }
    if let Some(title) = &link.title {
        row(&mut text, "title", title);
    }
    if !link.tags.is_empty() {
        row(&mut text, "tags", &link.tags.join(", "));
    }
    if let Some(note) = &link.note {
        row(&mut text, "remark", note);
    }
    row(&mut text, "look up", &dig(&link.name, dns));
    text
}

/// Why a link is withheld.
fn why(withheld: &Withheld) -> String {
    let (kind, reason) = (withheld.grounds.kind(), withheld.reason.as_str());
    match withheld.grounds.authority() {
        Some(authority) => format!("{kind}: {reason} ({authority})"),
        None => format!("{kind}: {reason}"),
    }
}

/// Adds a row.
pub(super) fn row(text: &mut String, label: &str, value: &str) {
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

    #[test]
    fn what_get_prints() {
        let answer = Answer {
            link: serde_json::from_str(LINK).unwrap(),
            created: false,
            json: LINK.into(),
        };
        assert_eq!(
            link(&answer, None),
            "sale.s.example.com\n  \
             short URL  http://sale.s.example.com/\n  \
             leads to   https://example.net/\n  \
             look up    dig TXT sale.s.example.com +short\n  \
             made       2026-01-01T00:00:00Z\n  \
             version    1\n"
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
}
