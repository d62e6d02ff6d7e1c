//! Links that an operator has taken out of service, after a complaint about abuse or a legal demand.
//!
//! The link stays, with its history, and can be given back. Until then nobody gets its destination from DNS or from the
//! redirect host, which shows the reason instead. So these values decide answers, and are wherever the destination is.

use serde::{Deserialize, Serialize, Serializer};

use super::TargetUrl;
use super::about::{AboutError, bounded};
use super::target::TargetUrlError;

/// The most characters of a reason.
const MAX_REASON: usize = 200;
/// The names of the kinds.
const ABUSE: &str = "abuse";
const LEGAL: &str = "legal";

/// That a link is withheld, and why.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "StoredText")]
pub struct Withheld {
    /// On which grounds.
    pub grounds: Grounds,
    /// The reason, for everyone who opens the link.
    pub reason: Reason,
}

/// On which grounds a link is withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// The operator has decided so: the link leads to fraud, malware and the like.
    Abuse,
    /// An authority or another party demands it by law (RFC 7725). The URL is that of the authority, or of its demand.
    Legal(Option<TargetUrl>),
}

/// A reason: 1 to [`Reason::MAX`] characters in one line, without white space at its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(Box<str>);

/// Why a link cannot be withheld like that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WithheldError {
    /// The text names no kind.
    #[error("the kind {0:?} is neither {ABUSE:?} nor {LEGAL:?}")]
    Kind(String),
    /// The reason breaks a rule.
    #[error(transparent)]
    Reason(AboutError),
    /// The authority is no URL.
    #[error("the authority is not accepted: {0}")]
    Authority(TargetUrlError),
    /// Nobody demands what an operator decides.
    #[error("only a link that is withheld for legal reasons has an authority; leave it out")]
    NeedlessAuthority,
}

impl Reason {
    /// The most characters.
    pub const MAX: usize = MAX_REASON;

    /// A reason; drops white space at its ends.
    ///
    /// # Errors
    /// [`AboutError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, AboutError> {
        let text = bounded("reason", text.trim(), MAX_REASON, |_| false)?;
        Ok(Self(text.into()))
    }

    /// The reason of a text that [`Self::as_str`] has given; it is not checked again.
    pub(crate) fn of_valid(text: &str) -> Self {
        Self(text.into())
    }

    /// The reason as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Grounds {
    /// The name of the kind, as the API and the stores have it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Abuse => ABUSE,
            Self::Legal(_) => LEGAL,
        }
    }

    /// The authority.
    pub fn authority(&self) -> Option<&TargetUrl> {
        match self {
            Self::Abuse => None,
            Self::Legal(authority) => authority.as_ref(),
        }
    }
}

impl Withheld {
    /// The values that a user gives: the name of the kind, a reason, and perhaps the URL of an authority.
    ///
    /// # Errors
    /// [`WithheldError`] says which rule they break.
    pub fn parse(kind: &str, reason: &str, authority: Option<&str>) -> Result<Self, WithheldError> {
        Self::read(kind, reason, authority, TargetUrl::parse)
    }

    /// The values that a store has kept.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_stored(
        kind: &str,
        reason: &str,
        authority: Option<&str>,
    ) -> Result<Self, WithheldError> {
        Self::read(kind, reason, authority, TargetUrl::parse_stored)
    }

    fn read(
        kind: &str,
        reason: &str,
        authority: Option<&str>,
        parse: fn(&str) -> Result<TargetUrl, TargetUrlError>,
    ) -> Result<Self, WithheldError> {
        let grounds = match (kind, authority) {
            (ABUSE, None) => Grounds::Abuse,
            (ABUSE, Some(_)) => return Err(WithheldError::NeedlessAuthority),
            (LEGAL, url) => {
                let url = url.map(parse).transpose();
                Grounds::Legal(url.map_err(WithheldError::Authority)?)
            }
            _ => return Err(WithheldError::Kind(kind.into())),
        };
        let reason = Reason::parse(reason).map_err(WithheldError::Reason)?;
        Ok(Self { grounds, reason })
    }
}

/// The form in JSON, which the API, Redis, SQLite and the audit log have.
#[derive(Serialize)]
struct Text<'a> {
    kind: &'static str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<&'a str>,
}

/// The same as it is read. Unknown members are ignored: a later version of tinyns may add some.
#[derive(Deserialize)]
struct StoredText {
    kind: String,
    reason: String,
    authority: Option<String>,
}

impl Serialize for Withheld {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Text {
            kind: self.grounds.kind(),
            reason: self.reason.as_str(),
            authority: self.grounds.authority().map(TargetUrl::as_str),
        };
        text.serialize(serializer)
    }
}

impl TryFrom<StoredText> for Withheld {
    type Error = WithheldError;

    fn try_from(text: StoredText) -> Result<Self, WithheldError> {
        Self::parse_stored(&text.kind, &text.reason, text.authority.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_withheld_for_a_reason() {
        let check = |kind, reason, authority, expected: Result<&str, &str>| {
            let found = Withheld::parse(kind, reason, authority);
            let found = found.map(|withheld| serde_json::to_string(&withheld).unwrap());
            let found = found.map_err(|error| error.to_string());
            let expected = expected.map(Into::into).map_err(Into::into);
            assert_eq!(found, expected, "{kind} {reason} {authority:?}");
        };
        let phishing = "{\"kind\":\"abuse\",\"reason\":\"Phishing\"}";
        check("abuse", " Phishing ", None, Ok(phishing));
        let order = "{\"kind\":\"legal\",\"reason\":\"Order 12\"}";
        check("legal", "Order 12", None, Ok(order));
        check(
            "legal",
            "Order 12",
            Some("https://Court.example/12"),
            Ok(
                "{\"kind\":\"legal\",\"reason\":\"Order 12\",\"authority\":\"https://court.example/12\"}",
            ),
        );
        let kind = "the kind \"spam\" is neither \"abuse\" nor \"legal\"";
        check("spam", "x", None, Err(kind));
        check("abuse", " ", None, Err("the reason is empty"));
        let long = "x".repeat(201);
        let too_long = "the reason has 201 characters; at most 200 are accepted";
        check("legal", &long, None, Err(too_long));
        let scheme = "the authority is not accepted: the scheme \"javascript\" is not accepted; only http and https are";
        check("legal", "x", Some("javascript:alert(1)"), Err(scheme));
        let needless =
            "only a link that is withheld for legal reasons has an authority; leave it out";
        check("abuse", "x", Some("https://court.example/"), Err(needless));
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let check = |text: &str, expected: Option<&str>| {
            let found: Option<Withheld> = serde_json::from_str(text).ok();
            let found = found.map(|withheld| serde_json::to_string(&withheld).unwrap());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        let abuse = "{\"kind\":\"abuse\",\"reason\":\"Phishing\"}";
        check(abuse, Some(abuse));
        let later = "{\"kind\":\"abuse\",\"reason\":\"Phishing\",\"authority\":null,\"since\":7}";
        check(later, Some(abuse));
        check("{\"kind\":\"abuse\"}", None);
        check("{\"kind\":\"other\",\"reason\":\"x\"}", None);
        check("{\"kind\":\"legal\",\"reason\":\"\"}", None);
        check("true", None);
    }
}
