//! The form of a link: what was typed, the body of the call that it makes, and what is wrong with it.

use serde_json::{Map, Value, json};

use super::form::Fields;
use super::values::{LinkData, sentence};
use super::when;
use crate::base::clock::UnixTime;
use crate::base::span;
use crate::http::problem::Problem;
use crate::link::{Rank, RankedUrl, read_list};

/// What was typed into the form of a link.
#[derive(Clone, Debug, Default)]
pub(super) struct LinkForm {
    pub(super) zone: String,
    pub(super) url: String,
    /// Several destinations, one a line.
    pub(super) destinations: String,
    pub(super) code: String,
    pub(super) ends: String,
    pub(super) ttl: String,
    pub(super) title: String,
    pub(super) tags: String,
    pub(super) note: String,
    /// Why the link is withheld, as JSON. Nobody types it: a link that was deleted is made again as it was.
    pub(super) withheld: String,
    /// The version that the form was made for.
    pub(super) version: String,
    /// What is wrong: the name of the field, or an empty one, and a sentence.
    errors: Vec<(&'static str, String)>,
}

/// A field that is wrong, and why.
pub(super) type Wrong = (&'static str, String);

impl LinkForm {
    pub(super) fn of_fields(fields: &Fields) -> Self {
        let text = |name| fields.get(name).to_owned();
        Self {
            zone: text("zone"),
            url: text("url"),
            destinations: text("destinations").replace("\r\n", "\n"),
            code: text("code"),
            ends: text("ends"),
            ttl: text("ttl"),
            title: text("title"),
            tags: text("tags"),
            // Browsers send line ends of two characters.
            note: text("note").replace("\r\n", "\n"),
            withheld: text("withheld"),
            version: text("version"),
            errors: Vec::new(),
        }
    }

    pub(super) fn of_link(link: &LinkData) -> Self {
        let time = link.expires_at.as_ref();
        Self {
            zone: link.zone().to_owned(),
            url: link.url.clone(),
            destinations: link.destination_lines(),
            code: link.code.clone(),
            ends: time.map_or_else(String::new, |end| end.plain()),
            ttl: link.ttl.map_or_else(String::new, |ttl| ttl.to_string()),
            title: link.title.clone().unwrap_or_default(),
            tags: link.tag_line(),
            note: link.note.clone().unwrap_or_default(),
            // Strings always serialise.
            withheld: link.withheld.as_ref().map_or_else(String::new, |withheld| {
                serde_json::to_string(withheld).unwrap_or_default()
            }),
            version: link.version.to_string(),
            errors: Vec::new(),
        }
    }

    /// The body of a creation.
    pub(super) fn creation(&self, now: UnixTime) -> Result<Value, Wrong> {
        let mut body = Map::new();
        let mut destinations = self.destinations()?;
        if destinations.is_empty() {
            body.insert("url".into(), json!(self.url));
        } else {
            // The long URL is one of them, whether it is in the list or not.
            if !destinations.iter().any(|one| *one.url == *self.url) {
                let Rank { priority, weight } = Rank::default();
                let url = self.url.as_str().into();
                let target = RankedUrl {
                    url,
                    priority,
                    weight,
                };
                destinations.insert(0, target);
            }
            body.insert("destinations".into(), json!(destinations));
        }
        if !self.code.is_empty() {
            body.insert("code".into(), json!(self.code));
        }
        if !self.withheld.is_empty() {
            // The API refuses what is no object.
            let withheld = serde_json::from_str(&self.withheld);
            body.insert("withheld".into(), withheld.unwrap_or_else(|_| json!("")));
        }
        for (name, value) in self.rest(now)? {
            if !value.is_null() && value != json!([]) {
                body.insert(name.into(), value);
            }
        }
        Ok(Value::Object(body))
    }

    /// The body of a change: what differs from the link. None if nothing does.
    pub(super) fn change(&self, link: &LinkData, now: UnixTime) -> Result<Option<Value>, Wrong> {
        let was = Self::of_link(link);
        let mut body = Map::new();
        if self.url != was.url {
            body.insert("url".into(), json!(self.url));
        }
        if self.destinations != was.destinations {
            let list = self.destinations()?;
            let list = (!list.is_empty()).then_some(list);
            body.insert("destinations".into(), json!(list));
        }
        // The end of a link that has ended stays possible as long as it is not touched.
        let is_touched = |name| match name {
            "expires_at" => self.ends != was.ends,
            "ttl" => self.ttl != was.ttl,
            "title" => self.title != was.title,
            "tags" => self.tags != was.tags,
            _ => self.note != was.note,
        };
        for (name, value) in self.rest(now)? {
            if is_touched(name) {
                body.insert(name.into(), value);
            }
        }
        Ok((!body.is_empty()).then_some(Value::Object(body)))
    }

    /// The destinations; none if there are no several ones.
    fn destinations(&self) -> Result<Vec<RankedUrl>, Wrong> {
        read_list(&self.destinations)
            .map_err(|error| ("destinations", sentence(&error.to_string())))
    }

    /// The members besides `url`, `destinations` and `code`; null for those that are empty.
    fn rest(&self, now: UnixTime) -> Result<[(&'static str, Value); 5], Wrong> {
        let text = |text: &str| match text {
            "" => Value::Null,
            text => json!(text),
        };
        let ends = match &*self.ends {
            "" => Value::Null,
            typed => json!(when::end(typed, now).map_err(|error| ("ends", error))?),
        };
        let ttl = match &*self.ttl {
            "" => Value::Null,
            typed => json!(seconds(typed)?),
        };
        let tags = self.tags.split(',').map(str::trim);
        let tags: Vec<_> = tags.filter(|tag| !tag.is_empty()).collect();
        Ok([
            ("expires_at", ends),
            ("ttl", ttl),
            ("title", text(&self.title)),
            ("tags", json!(tags)),
            ("note", text(&self.note)),
        ])
    }

    /// The same with what is wrong.
    pub(super) fn with(mut self, (field, error): Wrong) -> Self {
        self.errors.push((field, error));
        self
    }

    /// The same with a problem of the API, at the field that is at fault.
    pub(super) fn with_problem(self, problem: &Problem) -> Self {
        let field = match problem.field() {
            Some("expires_at") => "ends",
            Some(
                field @ ("url" | "destinations" | "code" | "ttl" | "title" | "tags" | "note"
                | "zone"),
            ) => field,
            Some(_) | None => "",
        };
        let detail = problem.detail();
        let detail = detail.replace("expires_at", "the end");
        self.with((field, sentence(&detail.replace("\"ttl\"", "the TTL"))))
    }

    /// What is wrong with a field.
    pub(super) fn error(&self, field: &str) -> Option<&str> {
        let mut errors = self.errors.iter();
        let error = errors.find(|(name, _)| *name == field);
        error.map(|(_, text)| &**text)
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Whether the optional fields are to be shown: if one has something in it, or is wrong.
    pub(super) fn shows_more(&self) -> bool {
        let more = [
            &self.destinations,
            &self.code,
            &self.ends,
            &self.ttl,
            &self.title,
            &self.tags,
            &self.note,
        ];
        let is_wrong = |(field, _): &Wrong| !matches!(*field, "" | "url" | "zone");
        more.iter().any(|text| !text.is_empty()) || self.errors.iter().any(is_wrong)
    }

    /// Whether no field is wrong.
    pub(super) fn is_sound(&self) -> bool {
        self.errors.iter().all(|(field, _)| field.is_empty())
    }

    /// The attributes that tie a field to its hint and its error. The focus goes to the field that is wrong; a form has one
    /// error at a time.
    pub(super) fn aria(&self, field: &str) -> String {
        match self.error(field) {
            Some(_) => {
                format!(
                    "aria-describedby=\"{field}-hint {field}-error\" aria-invalid=\"true\" autofocus"
                )
            }
            None => format!("aria-describedby=\"{field}-hint\""),
        }
    }
}

/// Reads a TTL in seconds or as a span. The API says how long it may be.
fn seconds(typed: &str) -> Result<u64, Wrong> {
    let seconds = span::number(typed).or_else(|_| Ok(span::parse(typed)?.as_secs()));
    seconds.map_err(|_: span::SpanError| {
        let error = "Write seconds such as 300, or a span such as 90s, 5m, 1h or 7d.";
        ("ttl", error.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::page::values::Moment;

    const NOW: UnixTime = UnixTime(1_767_225_600);

    fn form(text: &str) -> LinkForm {
        LinkForm::of_fields(&Fields::parse(text.as_bytes()))
    }

    fn link() -> LinkData {
        serde_json::from_value(json!({
            "code": "a", "name": "a.s.example.com", "short_url": "http://a.s.example.com/",
            "url": "https://example.net/", "created_at": "2025-01-01T00:00:00Z", "created_by": "ann",
            "expires_at": "2025-06-01T00:00:00Z", "ttl": 300, "title": null, "tags": ["x", "y"],
            "note": "n", "version": 7,
        }))
        .unwrap()
    }

    #[test]
    fn a_creation_has_what_was_typed() {
        let body = form("url=u&code=&ends=1d&ttl=5m&tags=+a+,,b&note=x%0D%0Ay").creation(NOW);
        let again = form("url=u&withheld=%7B%22kind%22:%22abuse%22%7D").creation(NOW);
        assert_eq!(
            again,
            Ok(json!({"url": "u", "withheld": {"kind": "abuse"}}))
        );
        let expected = json!({
            "url": "u", "expires_at": "2026-01-02T00:00:00Z", "ttl": 300, "tags": ["a", "b"], "note": "x\ny",
        });
        assert_eq!(body, Ok(expected));
        assert_eq!(form("url=u").creation(NOW), Ok(json!({"url": "u"})));
        assert_eq!(form("url=u&ttl=x").creation(NOW).unwrap_err().0, "ttl");
        assert_eq!(form("url=u&ends=x").creation(NOW).unwrap_err().0, "ends");
    }

    #[test]
    fn several_destinations_are_lines() {
        let list = |list: &[(&str, u16, u16)]| {
            let one = |&(url, priority, weight): &(&str, u16, u16)| json!({"url": url, "priority": priority, "weight": weight});
            Value::Array(list.iter().map(one).collect())
        };
        let body = form("url=u&destinations=v+20+3%0D%0Aw").creation(NOW);
        let all = list(&[("u", 10, 1), ("v", 20, 3), ("w", 10, 1)]);
        assert_eq!(body, Ok(json!({ "destinations": all })));
        let body = form("url=u&destinations=v+20+3%0Au+5").creation(NOW);
        let all = list(&[("v", 20, 3), ("u", 5, 1)]);
        assert_eq!(body, Ok(json!({ "destinations": all })));
        let wrong = form("url=u&destinations=7").creation(NOW).unwrap_err();
        assert_eq!(wrong.0, "destinations");

        let mut several = link();
        several.destinations = read_list("https://example.net/ 10 2 v 10 1").unwrap();
        let mut typed = LinkForm::of_link(&several);
        assert_eq!(typed.destinations, "https://example.net/ 10 2\nv 10 1");
        assert_eq!(typed.change(&several, NOW), Ok(None));
        typed.url = "w".into();
        assert_eq!(typed.change(&several, NOW), Ok(Some(json!({"url": "w"}))));
        typed.url.clone_from(&several.url);
        typed.destinations = "v 1".into();
        let all = list(&[("v", 1, 1)]);
        assert_eq!(
            typed.change(&several, NOW),
            Ok(Some(json!({ "destinations": all })))
        );
        typed.destinations.clear();
        let none = json!({ "destinations": null });
        assert_eq!(typed.change(&several, NOW), Ok(Some(none)));
    }

    #[test]
    fn the_focus_goes_to_the_field_that_is_wrong() {
        let wrong = form("url=u").with(("ttl", "No.".into()));
        assert!(
            wrong
                .aria("ttl")
                .ends_with("aria-invalid=\"true\" autofocus")
        );
        assert!(!wrong.aria("url").contains("autofocus"));
        assert!(!wrong.is_sound());
        assert!(form("url=u").with(("", "No.".into())).is_sound());
    }

    #[test]
    fn a_change_has_only_what_differs() {
        let link = link();
        let form = LinkForm::of_link(&link);
        // An end that is past stays as it is.
        assert_eq!(form.change(&link, NOW), Ok(None));
        let changed = LinkForm {
            ends: String::new(),
            tags: "y".into(),
            ..form.clone()
        };
        let expected = json!({"expires_at": null, "tags": ["y"]});
        assert_eq!(changed.change(&link, NOW), Ok(Some(expected)));
        assert_eq!(link.zone(), "s.example.com");
        assert_eq!(link.shown(), "a.s.example.com");
        let end = Moment("2025-06-01T00:00:00Z".into());
        assert_eq!(link.expires_at, Some(end));
        assert!(link.has_ended("2026-01-01T00:00:00Z"));
        assert!(!link.has_ended("2025-05-31T23:59:59Z"));
    }
}
