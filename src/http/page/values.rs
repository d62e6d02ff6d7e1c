//! What the API returns, as templates show it.

use std::fmt;

use serde::Deserialize;

use crate::link::{RankedUrl, Withheld, list_text};

/// A link.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct LinkData {
    pub(super) code: String,
    pub(super) name: String,
    pub(super) short_url: String,
    pub(super) url: String,
    /// Those of a link that has more than its URL.
    #[serde(default)]
    pub(super) destinations: Vec<RankedUrl>,
    pub(super) created_at: Moment,
    pub(super) created_by: String,
    pub(super) expires_at: Option<Moment>,
    pub(super) ttl: Option<u32>,
    #[serde(default)]
    pub(super) title: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) note: Option<String>,
    #[serde(default)]
    pub(super) withheld: Option<Withheld>,
    pub(super) version: u64,
    #[serde(default)]
    visible_elsewhere: Option<bool>,
}

impl LinkData {
    /// The zone that the link is in.
    pub(super) fn zone(&self) -> &str {
        let below = self.name.strip_prefix(&*self.code);
        below.map_or("", |rest| rest.trim_start_matches('.'))
    }

    /// The short URL as people write it: without scheme and last slash.
    pub(super) fn shown(&self) -> &str {
        let rest = self.short_url.split_once("://");
        rest.map_or(&*self.short_url, |(_, rest)| rest.trim_end_matches('/'))
    }

    /// The path of the link's page, or of one below it (`/edit`).
    pub(super) fn path(&self, below: &str) -> String {
        format!("/links/{}{below}?zone={}", self.code, self.zone())
    }

    /// The list of links of the same zone with this tag.
    pub(super) fn tagged(&self, tag: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("zone", self.zone())
            .append_pair("tag", tag);
        format!("/links?{}", query.finish())
    }

    /// The path of an image of the QR code.
    pub(super) fn qr(&self, format: &str) -> String {
        format!("{}&format={format}&scale=8", self.path("/qr"))
    }

    /// The tags in one line, as the form has them.
    pub(super) fn tag_line(&self) -> String {
        self.tags.join(", ")
    }

    /// The destinations, one a line, as the form has them; empty for a link with its URL alone.
    pub(super) fn destination_lines(&self) -> String {
        list_text(&self.destinations, "\n")
    }

    /// Whether other servers do not show the last change yet.
    pub(super) fn is_hidden_elsewhere(&self) -> bool {
        self.visible_elsewhere == Some(false)
    }

    /// Whether the link has ended.
    pub(super) fn has_ended(&self, now: &str) -> bool {
        self.expires_at.as_ref().is_some_and(|end| *end.0 <= *now)
    }
}

/// Which servers have a change.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Visible {
    servers: usize,
    applied: usize,
    complete: bool,
    #[serde(default)]
    missing: Vec<String>,
    #[serde(default)]
    problem: Option<String>,
}

impl Visible {
    /// Whether there is anything to say: a server alone has each change at once.
    pub(super) fn is_notable(&self) -> bool {
        self.servers > 1 || !self.complete
    }

    /// Whether all servers have the change.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The notice.
    pub(super) fn text(&self) -> String {
        let (applied, servers) = (self.applied, self.servers);
        let mut text = match (self.complete, servers) {
            (true, 1) => "The one server that is live answers with it.".into(),
            (true, _) => format!("All {servers} servers answer with it."),
            (false, _) => format!("{applied} of {servers} servers answer with it."),
        };
        if !self.missing.is_empty() {
            text += &format!(" Not yet: {}.", self.missing.join(", "));
        }
        if let Some(problem) = &self.problem {
            text += &format!(" {}", sentence(problem));
        }
        text
    }
}

/// A time in the form of RFC 3339, in UTC and whole seconds, as the API writes it. Such texts compare as their times do.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub(super) struct Moment(pub(super) String);

impl Moment {
    /// The time as the field of a form has it.
    pub(super) fn plain(&self) -> String {
        self.0.replace('T', " ").replace('Z', "")
    }
}

/// The element `time`. Its text is for people, its attribute for programs.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact: String = self.0.chars().filter(|c| is_of_time(*c)).collect();
        let plain = exact.replace('T', " ");
        let plain = plain.split(['Z', '.']).next().unwrap_or_default();
        write!(f, "<time datetime=\"{exact}\">{plain} UTC</time>")
    }
}

fn is_of_time(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, 'T' | 'Z' | ':' | '-' | '.' | '+')
}

/// Its text is an element, and has no characters that HTML would have escaped.
impl askama::filters::HtmlSafe for Moment {}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct LinkPage {
    pub(super) links: Vec<LinkData>,
    pub(super) next_cursor: Option<String>,
}

/// A sentence of a detail, which begins with a small letter and has no full stop.
pub(super) fn sentence(detail: &str) -> String {
    let mut text = detail.to_owned();
    if let Some(first) = text.get(..1).map(str::to_uppercase) {
        text.replace_range(..1, &first);
    }
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_names_the_servers_without_the_change() {
        let check = |json: &str, is_notable: bool, text: &str| {
            let visible: Visible = serde_json::from_str(json).unwrap();
            assert_eq!(visible.is_notable(), is_notable, "{json}");
            assert_eq!(visible.text(), text);
        };
        let alone = r#"{"servers":1,"applied":1,"complete":true,"missing":[]}"#;
        check(alone, false, "The one server that is live answers with it.");
        let all = r#"{"servers":3,"applied":3,"complete":true,"missing":[]}"#;
        check(all, true, "All 3 servers answer with it.");
        let some = r#"{"servers":3,"applied":1,"complete":false,"missing":["b","c"]}"#;
        check(some, true, "1 of 3 servers answer with it. Not yet: b, c.");
        let unknown =
            r#"{"servers":1,"applied":1,"complete":false,"missing":[],"problem":"nobody answers"}"#;
        check(
            unknown,
            true,
            "1 of 1 servers answer with it. Nobody answers.",
        );
    }

    #[test]
    fn moments_are_elements_and_nothing_else() {
        let moment = Moment("2026-12-31T23:59:59Z".into());
        let expected = "<time datetime=\"2026-12-31T23:59:59Z\">2026-12-31 23:59:59 UTC</time>";
        assert_eq!(moment.to_string(), expected);
        assert_eq!(moment.plain(), "2026-12-31 23:59:59");
        let evil = Moment("\"><script>".into());
        assert_eq!(evil.to_string(), "<time datetime=\"\"> UTC</time>");
    }

    #[test]
    fn sentences() {
        assert_eq!(sentence("it is empty"), "It is empty.");
        assert_eq!(sentence("Why?"), "Why?");
        assert_eq!(sentence("é"), "é.");
        assert_eq!(sentence(""), ".");
    }
}
