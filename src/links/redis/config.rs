//! The settings of `[redis]`.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

/// The port if a URL has none. Also for TLS, for which no port is registered.
const DEFAULT_PORT: u16 = 6379;

/// How Redis is reached and used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// What the URLs are addresses of.
    pub mode: RedisMode,
    /// At least one. Exactly one with [`RedisMode::Node`]; otherwise any one that answers will do.
    pub urls: Vec<RedisUrl>,
    /// A file with the password in its first line.
    pub password_file: Option<PathBuf>,
    /// A file of PEM certificates: the CAs that sign the servers' certificates (`rediss://`). None for those of
    /// the system.
    pub ca_file: Option<PathBuf>,
    /// A file with the client certificate and its chain, in PEM (`rediss://`). Only with [`RedisConfig::key`].
    pub certificate: Option<PathBuf>,
    /// A file with the key of that certificate, in PEM, not encrypted.
    pub key: Option<PathBuf>,
    /// The beginning of all keys, before a colon. Nodes with the same prefix share their values.
    pub prefix: Box<str>,
    /// How long a link stays in Redis before it is read from the store again.
    pub keep: Duration,
    /// The time-out of a call. If the round trip is too long for it, calls may take longer.
    pub timeout: Duration,
    /// Whether to load all links from the store at the start.
    pub warm_load: bool,
    /// How many links a second the warm load may put; 0 for no limit.
    pub warm_load_rate: u32,
}

/// What a Redis URL is the address of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Node,
    /// A member of a Redis Cluster.
    Cluster,
    /// A sentinel.
    Sentinel {
        /// The name of the server that sentinels use.
        master: Box<str>,
    },
}

/// The URL of a Redis server: `redis://` or `rediss://`. It may contain a password, which [`fmt::Debug`] and
/// [`fmt::Display`] hide.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(url::Url);

/// Why a text is not the URL of a Redis server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    /// The text has another form.
    #[error("not a redis:// or rediss:// URL with a host, such as \"redis://127.0.0.1:6379\"")]
    Form,
    /// User or password are not UTF-8 after percent-decoding.
    #[error(
        "user and password of a URL are percent-encoded, and these are not text: write a % as %25, or \
         put the password into a password_file"
    )]
    Account,
}

impl RedisUrl {
    /// Reads a URL: `redis[s]://[user[:password]@]host[:port][/database]`. Characters of user and password may be
    /// percent-encoded (RFC 3986 §2.1) but need not be: the host begins after the last `@`, because neither a host
    /// nor a database contains one, and a `%` without two hexadecimal digits after it stands for itself.
    ///
    /// # Errors
    /// [`RedisUrlError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let url = match text
            .split_once("://")
            .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)))
        {
            Some((scheme, (account, host))) => {
                url::Url::parse(&format!("{scheme}://{}@{host}", encode_account(account)?))
            }
            None => url::Url::parse(text),
        };
        let url = url.map_err(|_| RedisUrlError::Form)?;
        let database = url.path().trim_start_matches('/');
        let sound = matches!(url.scheme(), "redis" | "rediss")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.query().is_none()
            && url.fragment().is_none()
            && (database.is_empty() || database.parse::<u16>().is_ok());
        sound.then_some(Self(url)).ok_or(RedisUrlError::Form)
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "rediss"
    }

    /// Whether the URL names a database other than 0; a cluster has no other.
    pub fn has_database(&self) -> bool {
        self.database() != 0
    }

    /// Host and port in a normal form.
    pub fn server(&self) -> String {
        // The url crate keeps the case of hosts for schemes that it does not know.
        let host = self.0.host_str().unwrap_or_default().to_ascii_lowercase();
        format!("{host}:{}", self.0.port().unwrap_or(DEFAULT_PORT))
    }

    /// Whether user, password and database are the same.
    pub fn has_account_of(&self, other: &Self) -> bool {
        let account = |url: &Self| {
            let (user, password) = (url.0.username().to_owned(), url.0.password());
            (user, password.map(str::to_owned), url.database())
        };
        account(self) == account(other)
    }

    /// The database; [`RedisUrl::parse`] accepts only numbers.
    fn database(&self) -> u16 {
        let path = self.0.path().trim_start_matches('/');
        path.parse().unwrap_or_default()
    }

    /// The whole URL with the password.
    pub(super) fn expose(&self) -> &url::Url {
        &self.0
    }
}

/// Percent-encodes all characters of user and password that would end them in a URL. Encoded ones stay as they
/// are.
fn encode_account(account: &str) -> Result<String, RedisUrlError> {
    let bytes = account.as_bytes();
    let mut encoded = String::with_capacity(account.len());
    // The bytes as Redis will get them.
    let mut decoded = Vec::with_capacity(account.len());
    let mut is_user = true;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
        let hex = match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high << 4 | low).ok(),
            _ => None,
        };
        match (byte, hex) {
            (_, Some(hex)) => {
                // Writing to a String does not fail.
                let _ = write!(encoded, "%{hex:02X}");
                decoded.push(hex);
                at += 3;
                continue;
            }
            // The colon between user and password.
            (b':', None) if is_user => {
                is_user = false;
                encoded.push(':');
            }
            (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~', None) => {
                encoded.push(char::from(byte));
            }
            (byte, None) => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        decoded.push(byte);
        at += 1;
    }
    match std::str::from_utf8(&decoded) {
        Ok(_) => Ok(encoded),
        Err(_) => Err(RedisUrlError::Account),
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        if shown.password().is_some() {
            // It has a host, so a password can be set.
            let _ = shown.set_password(Some("***"));
        }
        shown.fmt(f)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in [
            "redis://127.0.0.1:6379",
            "rediss://cache.example:6380/2",
            "redis://user:secret@[::1]/",
        ] {
            RedisUrl::parse(good).unwrap();
        }
        for bad in [
            "",
            "127.0.0.1:6379",
            "http://a/",
            "redis://",
            "redis:///0",
            "redis://a/x",
            "redis://a/?protocol=3",
            "unix:///run/redis",
        ] {
            assert!(RedisUrl::parse(bad).is_err(), "{bad}");
        }
    }

    /// Passwords as typed and as percent-encoded, and what Redis gets.
    #[cfg(feature = "redis")]
    #[test]
    fn passwords_with_any_characters() {
        for (typed, password) in [
            ("p/w", "p/w"),
            ("p@w", "p@w"),
            ("p#w", "p#w"),
            ("p?w", "p?w"),
            ("p:w", "p:w"),
            ("p%w", "p%w"),
            ("50%", "50%"),
            ("%%", "%%"),
            ("%2Fp%40w%25", "/p@w%"),
            ("p w[]<>^|{}`\"\\", "p w[]<>^|{}`\"\\"),
            ("gr\u{fc}n", "gr\u{fc}n"),
            ("gr%C3%BCn", "gr\u{fc}n"),
            ("://@host:1/2", "://@host:1/2"),
        ] {
            let text = format!("redis://user:{typed}@cache.example:6380/3");
            let url = RedisUrl::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(url.server(), "cache.example:6380", "{text}");
            let info =
                redis::IntoConnectionInfo::into_connection_info(url.expose().clone()).unwrap();
            assert_eq!(info.redis_settings().password(), Some(password), "{text}");
            assert_eq!(info.redis_settings().username(), Some("user"), "{text}");
            assert_eq!(url.to_string(), "redis://user:***@cache.example:6380/3");
        }
        let error = RedisUrl::parse("redis://u:%ff@a").unwrap_err();
        assert_eq!(error, RedisUrlError::Account);
    }

    #[test]
    fn servers_and_accounts_are_compared_by_what_they_mean() {
        let url = |text| RedisUrl::parse(text).unwrap();
        for (text, server) in [
            ("redis://Cache.Example", "cache.example:6379"),
            ("rediss://u:p@cache.example:6380/2", "cache.example:6380"),
            ("redis://[0::1]/", "[::1]:6379"),
        ] {
            assert_eq!(url(text).server(), server, "{text}");
        }
        let first = url("redis://u:p@a");
        for same in ["redis://u:p@a:1/", "redis://u:p@b/0"] {
            assert!(first.has_account_of(&url(same)), "{same}");
        }
        for other in [
            "redis://a",
            "redis://v:p@a",
            "redis://u:q@a",
            "redis://u@a",
            "redis://u:p@a/1",
        ] {
            assert!(!first.has_account_of(&url(other)), "{other}");
        }
        let databases = ["redis://a", "redis://a/0", "redis://a/00", "redis://a/7"];
        let asked = databases.map(|text| url(text).has_database());
        assert_eq!(asked, [false, false, false, true]);
    }

    #[test]
    fn passwords_are_not_shown() {
        let url = RedisUrl::parse("redis://u:secret@a/").unwrap();
        assert_eq!(url.to_string(), "redis://u:***@a/");
        assert!(!format!("{url:?}").contains("secret"));
        assert!(url.expose().as_str().contains("secret"));
    }
}
