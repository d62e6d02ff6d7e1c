//! The options that have no effect on a link that exists already.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::api_client::{Link, NewLink};

/// An option of `add`, and its name in the API.
pub(super) type AddOption = (&'static str, &'static str);

/// The options that were ignored, since the link existed already and differs from them.
pub(super) fn ignored(asked: &NewLink<'_>, link: &Link, created: bool) -> Vec<AddOption> {
    let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    let same_end = |asked: &str| link.expires_at.as_deref().and_then(time) == time(asked);
    let same_code = |asked: &str| link.code.as_deref() == Some(asked);
    let mut tags = asked.tags.clone();
    tags.sort_unstable();
    tags.dedup();
    let same_tags = link.tags == tags;
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
        (
            ("--title", "title"),
            asked.title.is_none() || asked.title == link.title.as_deref(),
        ),
        (("--tag", "tags"), asked.tags.is_empty() || same_tags),
        (
            ("--note", "note"),
            asked.note.is_none() || asked.note == link.note.as_deref(),
        ),
    ];
    let broken = holds.into_iter().filter(|(_, holds)| !created && !holds);
    broken.map(|(option, _)| option).collect()
}

/// The names of options, for people.
pub(super) fn options(ignored: &[AddOption]) -> String {
    let names: Vec<_> = ignored.iter().map(|(option, _)| *option).collect();
    names.join(", ")
}

/// The names of options in the API.
pub(super) fn members(ignored: &[AddOption]) -> Vec<&'static str> {
    ignored.iter().map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::api_client::testing::LINK;

    #[test]
    fn ignored_options() {
        let check = |created: bool, code, expires_at, ttl, expected: &[&str]| {
            let new = NewLink {
                url: Some("https://example.net/"),
                code,
                expires_at,
                ttl,
                ..NewLink::default()
            };
            let json = LINK.replace("\"ttl\":null", "\"ttl\":60").replace(
                "\"expires_at\":null",
                "\"expires_at\":\"2027-01-01T00:00:00Z\"",
            );
            let link = serde_json::from_str(&json).unwrap();
            let ignored = ignored(&new, &link, created);
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
        let mut link: Link = serde_json::from_str(LINK).unwrap();
        link.tags = vec!["a".into(), "b".into()];
        link.title = Some("Sale".into());
        let new = |title, tags: &[&'static str], note| NewLink {
            title,
            tags: tags.to_vec(),
            note,
            ..NewLink::default()
        };
        let check = |new: NewLink<'_>, expected: &[&str]| {
            assert_eq!(members(&ignored(&new, &link, false)), expected, "{new:?}");
        };
        check(new(None, &[], None), &[]);
        check(new(Some("Sale"), &["b", "a", "b"], None), &[]);
        check(
            new(Some("sale"), &["a"], Some("n")),
            &["title", "tags", "note"],
        );
    }
}
