//! The list of all tokens, and the document that holds it.

use serde::{Deserialize, Serialize};

use super::super::caller::{Caller, ROOT_NAME, Role};
use super::super::rate::Rate;
use super::super::secret::SecretDigest;
use crate::base::clock::UnixTime;
use crate::link::Origin;
use crate::store::StoreError;
use crate::store::audit::Facts;

/// How many tokens there may be. A document has room for about three times as many.
pub const MAX_TOKENS: usize = 500;
/// The longest name of a token, in characters.
pub const MAX_NAME_LEN: usize = 64;
/// How many zones a token may be limited to.
pub const MAX_ZONES: usize = 16;

/// The key of the document.
pub const KEY: &str = "access:tokens";

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name, which no other token has.
    pub name: Box<str>,
    /// What it allows.
    pub role: Role,
    /// The zones whose links it allows to use; none for all zones.
    pub zones: Option<Vec<Origin>>,
    /// When it was made.
    pub created_at: UnixTime,
    /// The name of the token that made it.
    pub created_by: Box<str>,
    /// When it ends; none for never.
    pub expires_at: Option<UnixTime>,
    /// How fast it may call; none for the rate that the configuration gives to all tokens.
    pub rate: Option<Rate>,
    pub(super) digest: SecretDigest,
}

impl Token {
    /// Whether the token is valid no more.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    pub(super) fn caller(&self) -> Caller {
        let caller = Caller::new(&self.name, self.role, self.zones.as_deref());
        caller.with_secret(self.digest).with_rate(self.rate)
    }
}

/// A rule that a token breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRule {
    /// The name has other characters, or is too long.
    #[error(
        "the name of a token has 1 to {MAX_NAME_LEN} letters, digits, dots, hyphens, underscores or \"@\""
    )]
    Name,
    /// The name is that of the token in the file.
    #[error(
        "{ROOT_NAME:?} is the name of the token in the server's token file; choose another one"
    )]
    RootName,
    /// Zones for a role that concerns all zones.
    #[error(
        "a token with the role \"admin\" is for all zones; leave \"zones\" out, or choose \"editor\""
    )]
    AdminZones,
    /// No zone at all, or too many.
    #[error("a token is for 1 to {MAX_ZONES} zones; leave \"zones\" out for all zones")]
    Zones,
    /// The token would have ended already.
    #[error("expires_at is not in the future")]
    AlreadyExpired,
    /// The end is beyond the calendar.
    #[error("expires_at is beyond the year 9999")]
    ExpiresTooLate,
    /// The rate is out of its range.
    #[error("a rate is 1 to {max} requests a second", max = Rate::MAX)]
    Rate,
    /// The burst is out of its range.
    #[error("a burst is 1 to {max} requests", max = Rate::MAX)]
    Burst,
}

/// A token to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The zones that it is limited to; none for all zones.
    pub zones: Option<Vec<Origin>>,
    /// When it ends; none for never.
    pub expires_at: Option<UnixTime>,
    /// How fast it may call; none for the rate that the configuration gives to all tokens.
    pub rate: Option<Rate>,
}

impl NewToken {
    pub(super) fn check(&self, now: UnixTime) -> Result<(), TokenRule> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@');
        let is_name = (1..=MAX_NAME_LEN).contains(&self.name.len());
        if !is_name || !self.name.bytes().all(allowed) {
            return Err(TokenRule::Name);
        }
        if self.name.eq_ignore_ascii_case(ROOT_NAME) {
            return Err(TokenRule::RootName);
        }
        match &self.zones {
            Some(_) if self.role == Role::Admin => return Err(TokenRule::AdminZones),
            Some(zones) if !(1..=MAX_ZONES).contains(&zones.len()) => return Err(TokenRule::Zones),
            _ => {}
        }
        match self.rate {
            Some(rate) if !Rate::RANGE.contains(&rate.per_second) => return Err(TokenRule::Rate),
            Some(rate) if !Rate::RANGE.contains(&rate.burst) => return Err(TokenRule::Burst),
            _ => {}
        }
        match self.expires_at {
            Some(end) if end <= now => Err(TokenRule::AlreadyExpired),
            Some(end) if end > UnixTime::MAX => Err(TokenRule::ExpiresTooLate),
            _ => Ok(()),
        }
    }
}

/// The form of a token in the document.
#[derive(Deserialize, Serialize)]
struct Kept {
    name: Box<str>,
    role: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zones: Option<Vec<Box<str>>>,
    created_at: u64,
    created_by: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    /// The rate, and its burst, as `[5, 10]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<[u32; 2]>,
    sha256: String,
}

#[derive(Deserialize, Serialize)]
struct KeptList {
    tokens: Vec<Kept>,
}

/// The content of a document.
pub(super) fn encode(tokens: &[Token]) -> Result<Vec<u8>, StoreError> {
    let kept = tokens.iter().map(|token| Kept {
        name: token.name.clone(),
        role: token.role.name().into(),
        zones: token
            .zones
            .as_ref()
            .map(|zones| zones.iter().map(|zone| zone.as_str().into()).collect()),
        created_at: token.created_at.0,
        created_by: token.created_by.clone(),
        expires_at: token.expires_at.map(|end| end.0),
        rate: token.rate.map(|rate| [rate.per_second, rate.burst]),
        sha256: token.digest.to_hex(),
    });
    let tokens = kept.collect();
    serde_json::to_vec(&KeptList { tokens }).map_err(|e| StoreError::Refused(e.to_string()))
}

/// A token as the audit log shows it.
pub(super) fn facts(token: &Token) -> Facts {
    let zones = token.zones.as_ref();
    Facts::of(&TokenFacts {
        role: token.role.name(),
        zones: zones.map(|zones| zones.iter().map(Origin::as_str).collect()),
        expires_at: token.expires_at.map(UnixTime::rfc3339),
        rate: token.rate.map(|rate| rate.per_second),
        burst: token.rate.map(|rate| rate.burst),
    })
}

#[derive(Serialize)]
struct TokenFacts<'a> {
    role: &'static str,
    zones: Option<Vec<&'a str>>,
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
}

/// Reads the content of a document.
pub(super) fn decode(content: &[u8]) -> Result<Vec<Token>, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt {
        name: KEY.into(),
        reason,
    };
    let list: KeptList = serde_json::from_slice(content).map_err(|e| corrupt(e.to_string()))?;
    let token = |kept: Kept| {
        let bad = |what: &str| corrupt(format!("the token {:?} has a bad {what}", kept.name));
        let zones = kept.zones.as_ref().map(|zones| {
            let zones = zones.iter().map(|zone| Origin::parse(zone));
            zones.collect::<Result<Vec<_>, _>>()
        });
        let is_rate = |numbers: &[u32; 2]| numbers.iter().all(|n| Rate::RANGE.contains(n));
        if !kept.rate.as_ref().is_none_or(is_rate) {
            return Err(bad("rate"));
        }
        let rate = |[per_second, burst]: [u32; 2]| Rate { per_second, burst };
        Ok(Token {
            rate: kept.rate.map(rate),
            role: kept.role.parse().map_err(|_| bad("role"))?,
            zones: zones.transpose().map_err(|_| bad("zone"))?,
            created_at: UnixTime(kept.created_at),
            created_by: kept.created_by.clone(),
            expires_at: kept.expires_at.map(UnixTime),
            digest: SecretDigest::from_hex(&kept.sha256).ok_or_else(|| bad("sha256"))?,
            name: kept.name,
        })
    };
    list.tokens.into_iter().map(token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::secret;
    use crate::store::document::MAX_CONTENT_LEN;

    const NOW: UnixTime = UnixTime(1_700_000_000);

    fn new(name: &str) -> NewToken {
        NewToken {
            name: name.into(),
            role: Role::Editor,
            zones: None,
            expires_at: None,
            rate: None,
        }
    }

    #[test]
    fn rules() {
        assert_eq!(new("Ann.B-2_c@x").check(NOW), Ok(()));
        for bad in ["", "a b", "a\n", "é", &"x".repeat(65)] {
            assert_eq!(new(bad).check(NOW), Err(TokenRule::Name), "{bad:?}");
        }
        assert_eq!(new("Admin").check(NOW), Err(TokenRule::RootName));
        let zones = |n| Some(vec![Origin::parse("s.example.com").unwrap(); n]);
        let limited = |role, zones| {
            NewToken {
                role,
                zones,
                ..new("a")
            }
            .check(NOW)
        };
        assert_eq!(limited(Role::Admin, zones(1)), Err(TokenRule::AdminZones));
        assert_eq!(limited(Role::Editor, zones(0)), Err(TokenRule::Zones));
        assert_eq!(limited(Role::Editor, zones(17)), Err(TokenRule::Zones));
        assert_eq!(limited(Role::Reader, zones(16)), Ok(()));
        let ends = |end| {
            NewToken {
                expires_at: Some(end),
                ..new("a")
            }
            .check(NOW)
        };
        assert_eq!(ends(NOW), Err(TokenRule::AlreadyExpired));
        assert_eq!(ends(UnixTime(NOW.0 + 1)), Ok(()));
        let beyond = UnixTime(UnixTime::MAX.0 + 1);
        assert_eq!(ends(beyond), Err(TokenRule::ExpiresTooLate));
        let rated = |per_second, burst| {
            NewToken {
                rate: Some(Rate { per_second, burst }),
                ..new("a")
            }
            .check(NOW)
        };
        assert_eq!(rated(1, Rate::MAX), Ok(()));
        assert_eq!(rated(Rate::MAX, 1), Ok(()));
        for bad in [0, Rate::MAX + 1] {
            assert_eq!(rated(bad, 1), Err(TokenRule::Rate));
            assert_eq!(rated(1, bad), Err(TokenRule::Burst));
        }
    }

    #[test]
    fn the_longest_list_fits_into_a_document_and_comes_back() {
        let origin = format!("{}.example.com", "z".repeat(63));
        let zone = Origin::parse(&origin).unwrap();
        let tokens: Vec<Token> = (0..MAX_TOKENS)
            .map(|n| Token {
                name: format!("{n:0>64}").into(),
                role: Role::Reader,
                zones: (n % 10 == 0).then(|| vec![zone.clone(); MAX_ZONES]),
                created_at: NOW,
                created_by: "x".repeat(MAX_NAME_LEN).into(),
                expires_at: Some(UnixTime::MAX),
                rate: Some(Rate {
                    per_second: Rate::MAX,
                    burst: Rate::MAX,
                }),
                digest: secret::make().unwrap().1,
            })
            .collect();
        let content = encode(&tokens).unwrap();
        assert!(content.len() < MAX_CONTENT_LEN, "{}", content.len());
        assert_eq!(decode(&content).unwrap(), tokens);
    }

    #[test]
    fn a_damaged_list_is_reported() {
        let good = r#"{"tokens":[{"name":"a","role":"editor","created_at":1,"created_by":"admin","sha256":"XX"}]}"#;
        let good = good.replace("XX", &"0".repeat(64));
        assert_eq!(decode(good.as_bytes()).unwrap().len(), 1);
        let changes = [
            ("editor", "owner"),
            ("00\"", "0\""),
            ("tokens", "token"),
            ("\"sha256\"", "\"rate\":[1,0],\"sha256\""),
        ];
        for (from, to) in changes {
            let bad = good.replace(from, to);
            let error = decode(bad.as_bytes()).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{bad}");
        }
    }
}
