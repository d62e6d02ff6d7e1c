//! One URL: one request, and a description of its link.

use std::net::SocketAddr;

use super::AddArgs;
use super::ignored::{AddOption, ignored, members, options};
use crate::cli::api_client::{Answer, NewLink, Wait};
use crate::cli::client::Client;
use crate::cli::outcome::Exit;
use crate::cli::output::{print, say};
use crate::cli::shown::{self, NOT_VISIBLE, row};

/// Creates a link, and prints it.
pub(super) fn add(
    client: &Client,
    args: &AddArgs,
    expires_at: Option<&str>,
    url: Option<&str>,
) -> anyhow::Result<Exit> {
    let new = NewLink {
        code: args.code.as_ref().map(|code| code.as_str()),
        ..args.new_link(url, expires_at)
    };
    let zone = args.client.zone.as_ref();
    let wait = Wait::of(args.wait);
    let answer = client.api.create(&client.token, zone, &new, wait)?;
    let ignored = ignored(&new, &answer.link, answer.created);
    print(&match args.client.json {
        true => added_json(&answer, &ignored),
        false => {
            let mut text = added(&answer, &ignored, client.dns);
            if args.wait {
                shown::receipt_rows(&mut text, answer.link.visible.as_ref());
            }
            text
        }
    })?;
    if ignored.is_empty() {
        return Ok(match args.wait {
            true => shown::exit_of(answer.link.visible.as_ref()),
            false => Exit::Done,
        });
    }
    if !args.client.json {
        say(&format!(
            "the link exists already and was not changed; ignored: {}",
            options(&ignored)
        ));
    }
    Ok(Exit::Ignored)
}

/// The API's answer with two more members.
fn added_json(answer: &Answer, ignored: &[AddOption]) -> String {
    let names = members(ignored).into_iter();
    let names: Vec<_> = names.map(|name| format!("\"{name}\"")).collect();
    let (created, names) = (answer.created, names.join(","));
    shown::json_with(
        answer,
        &format!("\"created\":{created},\"ignored\":[{names}]"),
    )
}

/// The description. The first line has only the name, for scripts.
fn added(answer: &Answer, ignored: &[AddOption], dns: Option<SocketAddr>) -> String {
    let mut text = shown::describe(&answer.link, dns);
    if !answer.created {
        let note = "the link exists already and was not changed";
        row(&mut text, "note", note);
    }
    if !ignored.is_empty() {
        row(&mut text, "ignored", &options(ignored));
    }
    if answer.link.visible_elsewhere == Some(false) {
        row(&mut text, "note", NOT_VISIBLE);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::api_client::testing::LINK;

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
    fn control_characters_do_not_reach_the_terminal() {
        let json = LINK.replace("https://example.net/", "https://\\u001b[2J/\\n");
        let text = added(&answer(true, &json), &[], None);
        assert!(
            text.contains("  leads to   https://\\u{1b}[2J/\\n\n"),
            "{text}"
        );
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
