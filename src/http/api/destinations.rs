//! The member `destinations` of a body, beside `url`.

use serde_json::{Map, Value};

use super::members::{integer, invalid, text};
use crate::http::problem::{Kind, Problem};
use crate::link::{Destinations, Rank, TargetUrl};

/// The name of the member.
pub(super) const MEMBER: &str = "destinations";
/// An example for messages.
const EXAMPLE: &str = "[{\"url\": \"https://example.net/\", \"priority\": 10, \"weight\": 1}]";

/// The member with the right types. `None` is absent, `Some(None)` is `null`.
#[derive(Default, PartialEq, Eq)]
pub(super) struct DestinationsMember(Option<Option<Vec<Given>>>);

/// One destination as it was sent.
#[derive(PartialEq, Eq)]
struct Given {
    url: String,
    priority: Option<u64>,
    weight: Option<u64>,
}

impl DestinationsMember {
    /// Reads the member.
    pub(super) fn read(member: Option<Value>) -> Result<Self, Problem> {
        let wrong = || {
            let detail =
                format!("{MEMBER:?} is neither null nor an array of objects such as {EXAMPLE}");
            invalid(detail).of(MEMBER)
        };
        Ok(Self(match member {
            None => None,
            Some(Value::Null) => Some(None),
            Some(Value::Array(values)) => {
                let given = values.into_iter().map(|value| match value {
                    Value::Object(members) => Given::read(members),
                    _ => Err(wrong()),
                });
                Some(Some(given.collect::<Result<_, _>>()?))
            }
            Some(_) => return Err(wrong()),
        }))
    }

    /// Whether a list was sent, so that the link has a target without `url`.
    pub(super) fn has_list(&self) -> bool {
        matches!(self.0, Some(Some(_)))
    }

    /// The target of a link, and what it has besides: `Some(None)` for nothing, none if that stays as it is.
    ///
    /// `url` has to be the preferred one of the destinations if both were sent, as in a link that the API has shown.
    pub(super) fn change(self, url: Option<TargetUrl>) -> Result<Terms, Problem> {
        let given = match self.0 {
            None => return Ok((url, None)),
            Some(None) => return Ok((url, Some(None))),
            Some(Some(given)) => given,
        };
        let list = given.into_iter().enumerate();
        let list = list.map(|(at, one)| one.check(at));
        let (target, destinations) = Destinations::of(list.collect::<Result<_, _>>()?)
            .map_err(|error| refused(error.to_string()))?;
        if let Some(url) = url.filter(|url| *url != target) {
            let detail = format!(
                "\"url\" is {url}, and the preferred destination is {target}: the lowest priority, and within it the \
                 highest weight; leave out \"url\", or send that one"
            );
            return Err(refused(detail));
        }
        Ok((Some(target), Some(destinations)))
    }
}

/// See [`DestinationsMember::change`].
pub(super) type Terms = (Option<TargetUrl>, Option<Option<Box<Destinations>>>);

impl Given {
    fn read(mut members: Map<String, Value>) -> Result<Self, Problem> {
        let at_fault = |problem: Problem| problem.of(MEMBER);
        let url = text(members.remove("url"), "url").map_err(at_fault)?;
        let url = url.flatten().ok_or_else(|| {
            let detail = format!("a destination has no \"url\"; it needs one, as in {EXAMPLE}");
            invalid(detail).of(MEMBER)
        })?;
        let mut number = |name| {
            let number = integer(members.remove(name), name, "0 to 65535, such as 10");
            number.map(Option::flatten).map_err(at_fault)
        };
        let given = Self {
            url,
            priority: number("priority")?,
            weight: number("weight")?,
        };
        match members.keys().next() {
            None => Ok(given),
            Some(name) => {
                let detail = format!(
                    "a destination has the unknown member {name:?}; it has \"url\", \"priority\" and \"weight\""
                );
                Err(invalid(detail).of(MEMBER))
            }
        }
    }

    /// The values, if they are valid. `at` is the place in the list.
    fn check(self, at: usize) -> Result<(TargetUrl, Rank), Problem> {
        let url = TargetUrl::parse(&self.url).map_err(|error| {
            let detail = format!("destination {}: {error}", at + 1);
            Problem::new(Kind::UrlRefused, detail).of(MEMBER)
        })?;
        let usual = Rank::default();
        let number = |given: Option<u64>, name, usual| match given.map(u16::try_from) {
            None => Ok(usual),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(refused(format!(
                "destination {}: {name:?} is 0 to {}",
                at + 1,
                u16::MAX
            ))),
        };
        let rank = Rank {
            priority: number(self.priority, "priority", usual.priority)?,
            weight: number(self.weight, "weight", usual.weight)?,
        };
        Ok((url, rank))
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(Kind::DestinationsRefused, detail).of(MEMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target, and the URLs and ranks of all destinations; or the status and the detail of the problem.
    fn read(url: Option<&str>, json: &str) -> Result<(String, String), (u16, String)> {
        let member = (!json.is_empty()).then(|| serde_json::from_str(json).unwrap());
        let url = url.map(|url| TargetUrl::parse(url).unwrap());
        let terms = DestinationsMember::read(member).and_then(|member| member.change(url));
        let (target, besides) =
            terms.map_err(|problem| (problem.status().as_u16(), problem.detail().to_owned()))?;
        let target = target.map_or_else(String::new, |target| target.to_string());
        Ok((target, serde_json::to_string(&besides).unwrap()))
    }

    #[test]
    fn lists_are_read() {
        let (a, b) = ("https://a.example/", "https://b.example/");
        let check = |url, json: &str, target: &str, besides: &str| {
            let expected = (target.to_owned(), besides.to_owned());
            assert_eq!(read(url, json), Ok(expected), "{json}");
        };
        check(Some(a), "", a, "null");
        check(Some(a), "null", a, "null");
        check(None, r#"[{"url": "https://A.example"}]"#, a, "null");
        check(
            Some(b),
            r#"[{"url": "https://a.example/", "priority": 20, "weight": null}, {"url": "https://b.example/"}]"#,
            b,
            r#"{"priority":10,"weight":1,"others":[{"url":"https://a.example/","priority":20,"weight":1}]}"#,
        );
    }

    #[test]
    fn lists_that_are_refused_say_why() {
        let check = |url, json: &str, status: u16, expected: &str| {
            let (found, detail) = read(url, json).unwrap_err();
            assert_eq!(found, status, "{detail}");
            assert!(detail.contains(expected), "{json}: {detail}");
        };
        let a = Some("https://a.example/");
        check(None, "7", 400, "neither null nor an array");
        check(None, "[7]", 400, "neither null nor an array");
        check(None, "[{}]", 400, "no \"url\"");
        check(None, r#"[{"url": 7}]"#, 400, "not a string");
        check(None, r#"[{"url": "x", "ttl": 7}]"#, 400, "\"ttl\"");
        check(None, r#"[{"url": "x", "weight": "7"}]"#, 400, "0 to 65535");
        check(None, "[]", 422, "needs a destination");
        check(
            None,
            r#"[{"url": "https://a.example/"}, {"url": "ftp://b.example/"}]"#,
            422,
            "destination 2: the scheme",
        );
        let big = r#"[{"url": "https://a.example/", "priority": 65536}]"#;
        check(None, big, 422, "\"priority\" is 0 to 65535");
        let twice = r#"[{"url": "https://a.example/"}, {"url": "https://A.example"}]"#;
        check(None, twice, 422, "twice");
        let other = r#"[{"url": "https://b.example/"}]"#;
        check(a, other, 422, "preferred destination");
    }
}
