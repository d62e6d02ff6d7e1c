//! The URL of a database, as libpq reads it:
//! `postgresql://[user[:password]@]host[:port][,host[:port]…][/database][?parameter=value&…]`.
//!
//! It is read here, and not by the client library, so that builds without the client refuse the same URLs, and so that no
//! message has a part of the URL: it may contain a password.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The port of PostgreSQL.
const DEFAULT_PORT: u16 = 5432;
/// The most servers: more than any set of replicas that can take over from each other.
const MAX_HOSTS: usize = 16;
/// The longest time-out of a connection, in seconds.
const MAX_CONNECT_TIMEOUT: u64 = 60;
/// How long one server may take to accept a connection, including TLS and the password.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a database is. [`fmt::Debug`] and [`fmt::Display`] hide the password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// At least one.
    pub(super) hosts: Vec<PostgresHost>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: Option<String>,
    pub(super) tls: TlsMode,
    pub(super) application: Option<String>,
    /// How long one server may take to accept a connection.
    pub(super) connect_timeout: Duration,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PostgresHost {
    pub(super) place: HostPlace,
    pub(super) port: u16,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostPlace {
    /// A name or an address.
    Tcp(String),
    /// The directory of a Unix socket.
    Unix(PathBuf),
}

/// Whether connections are encrypted: `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// Never.
    Disable,
    /// If the server offers it. The certificate is not checked.
    Prefer,
    /// Always, with a certificate for the host that the CAs have signed: `require`, `verify-full`, and the default
    /// unless all servers are on this machine.
    Verify,
}

/// Why a text is not the URL of a database. No message has a part of the text: it may contain a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresUrlError {
    /// The text has another form.
    #[error(
        "not a postgresql:// URL with a host, such as \"postgresql://tinyns@db.example.net/tinyns\""
    )]
    Form,
    /// A part is not text after percent-decoding.
    #[error(
        "the parts of the URL are percent-encoded, and one of them is not text: write a % as %25, or put the password \
         into a password_file"
    )]
    Encoding,
    /// A port is no number from 1 to 65535.
    #[error("a port of the URL is not a number from 1 to 65535")]
    Port,
    /// Too many servers.
    #[error("{0} hosts; at most {MAX_HOSTS} are allowed")]
    TooManyHosts(usize),
    /// An unknown parameter. Its name is shown if it cannot be a part of a password.
    #[error(
        "a parameter of the URL is unknown; there are sslmode, target_session_attrs, connect_timeout, application_name \
         and host"
    )]
    Parameter,
    /// A bad value of `sslmode`.
    #[error(
        "sslmode is disable, prefer, require or verify-full; require and verify-full both check the certificate and the \
         host name"
    )]
    TlsMode,
    /// A bad value of `target_session_attrs`.
    #[error(
        "target_session_attrs is read-write, which is also the default: this is the server that takes all changes"
    )]
    Target,
    /// A bad value of `connect_timeout`.
    #[error("connect_timeout is a number of seconds from 1 to {MAX_CONNECT_TIMEOUT}")]
    ConnectTimeout,
    /// Not one replica.
    #[error(
        "{0} hosts; the URL of a replica has exactly one, because the positions of several replicas do not compare"
    )]
    NotOneReplica(usize),
    /// A bad value of `target_session_attrs` for a replica.
    #[error(
        "target_session_attrs of a replica is standby or read-only; standby is also the default"
    )]
    ReplicaTarget,
}

/// What a URL leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// The server that takes changes.
    Writer,
    /// A replica.
    Replica,
}

impl PostgresUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`PostgresUrlError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, PostgresUrlError> {
        Self::parse_for(text, Target::Writer)
    }

    /// Reads the URL of a replica.
    ///
    /// # Errors
    /// [`PostgresUrlError`] says which part is wrong.
    pub fn parse_replica(text: &str) -> Result<Self, PostgresUrlError> {
        let url = Self::parse_for(text, Target::Replica)?;
        match url.hosts.len() {
            1 => Ok(url),
            number => Err(PostgresUrlError::NotOneReplica(number)),
        }
    }

    fn parse_for(text: &str, target: Target) -> Result<Self, PostgresUrlError> {
        let rest = text
            .strip_prefix("postgresql://")
            .or_else(|| text.strip_prefix("postgres://"))
            .ok_or(PostgresUrlError::Form)?;
        if rest.contains('#') {
            return Err(PostgresUrlError::Form);
        }
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        // Neither a host nor the name of a database has an "@" that is not encoded.
        let (account, rest) = match rest.rsplit_once('@') {
            Some((account, rest)) => (Some(account), rest),
            None => (None, rest),
        };
        let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, password) = match account.map(|account| account.split_once(':')) {
            Some(Some((user, password))) => (decode(user)?, decode(password)?),
            Some(None) => (decode(account.unwrap_or_default())?, None),
            None => (None, None),
        };
        let mut url = Self {
            hosts: Vec::new(),
            user,
            password,
            database: decode(database)?,
            tls: TlsMode::Verify,
            application: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
        };
        for host in hosts.split(',').filter(|_| !hosts.is_empty()) {
            url.hosts.push(PostgresHost::parse(host)?);
        }
        let tls = url.take_parameters(parameters, target)?;
        match url.hosts.len() {
            0 => return Err(PostgresUrlError::Form),
            1..=MAX_HOSTS => {}
            number => return Err(PostgresUrlError::TooManyHosts(number)),
        }
        let is_here = url.hosts.iter().all(PostgresHost::is_here);
        url.tls = tls.unwrap_or(match is_here {
            true => TlsMode::Prefer,
            false => TlsMode::Verify,
        });
        Ok(url)
    }

    /// Takes all parameters; returns `sslmode`.
    fn take_parameters(
        &mut self,
        text: &str,
        target: Target,
    ) -> Result<Option<TlsMode>, PostgresUrlError> {
        let mut tls = None;
        for parameter in text.split('&').filter(|_| !text.is_empty()) {
            let (name, value) = parameter
                .split_once('=')
                .ok_or(PostgresUrlError::Parameter)?;
            let value = decode(value)?.unwrap_or_default();
            match name {
                "sslmode" => {
                    tls = Some(match value.as_str() {
                        "disable" => TlsMode::Disable,
                        "prefer" => TlsMode::Prefer,
                        "require" | "verify-full" => TlsMode::Verify,
                        _ => return Err(PostgresUrlError::TlsMode),
                    });
                }
                "target_session_attrs" => match (target, value.as_str()) {
                    (Target::Writer, "read-write" | "primary")
                    | (Target::Replica, "standby" | "read-only") => {}
                    (Target::Writer, _) => return Err(PostgresUrlError::Target),
                    (Target::Replica, _) => return Err(PostgresUrlError::ReplicaTarget),
                },
                "connect_timeout" => {
                    let seconds = value.parse().ok();
                    let seconds = seconds.filter(|secs| (1..=MAX_CONNECT_TIMEOUT).contains(secs));
                    let seconds = seconds.ok_or(PostgresUrlError::ConnectTimeout)?;
                    self.connect_timeout = Duration::from_secs(seconds);
                }
                "application_name" => self.application = Some(value),
                "host" if self.hosts.is_empty() => {
                    for host in value.split(',') {
                        self.hosts.push(PostgresHost::parse(host)?);
                    }
                }
                _ => return Err(PostgresUrlError::Parameter),
            }
        }
        Ok(tls)
    }

    /// Whether TLS may be used, so that files for TLS are of use.
    pub fn may_use_tls(&self) -> bool {
        self.tls != TlsMode::Disable
    }

    /// Whether the servers' certificates are checked.
    pub fn checks_certificates(&self) -> bool {
        self.tls == TlsMode::Verify
    }

    /// The user; the client's default is that of the operating system.
    pub(super) fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("tinyns")
    }

    /// The name of the database; as in libpq, that of the user if the URL has none.
    pub(super) fn database(&self) -> &str {
        self.database.as_deref().unwrap_or_else(|| self.user())
    }
}

impl PostgresHost {
    fn parse(text: &str) -> Result<Self, PostgresUrlError> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, rest)) => (
                address,
                rest.strip_prefix(':').or(match rest {
                    "" => Some(""),
                    _ => None,
                }),
            ),
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, Some("")),
            },
        };
        let port = match port.ok_or(PostgresUrlError::Form)? {
            "" => DEFAULT_PORT,
            port => port.parse().map_err(|_| PostgresUrlError::Port)?,
        };
        if port == 0 {
            return Err(PostgresUrlError::Port);
        }
        let host = decode(host)?.ok_or(PostgresUrlError::Form)?;
        let place = match host.starts_with('/') {
            true => HostPlace::Unix(host.into()),
            false if host.chars().any(|c| c.is_control() || c == ' ') => {
                return Err(PostgresUrlError::Form);
            }
            false => HostPlace::Tcp(host),
        };
        Ok(Self { place, port })
    }

    /// Whether it is on this machine.
    fn is_here(&self) -> bool {
        match &self.place {
            HostPlace::Unix(_) => true,
            HostPlace::Tcp(host) => {
                let address: Option<IpAddr> = host.parse().ok();
                host == "localhost" || address.is_some_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for PostgresHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            HostPlace::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            HostPlace::Tcp(host) => write!(f, "{host}:{}", self.port),
            HostPlace::Unix(directory) => {
                write!(f, "{}/.s.PGSQL.{}", directory.display(), self.port)
            }
        }
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgresql://{}@", self.user())?;
        for (i, host) in self.hosts.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{host}")?;
        }
        write!(f, "/{}", self.database())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A part of a URL after percent-decoding (RFC 3986 §2.1); none if it is empty.
fn decode(part: &str) -> Result<Option<String>, PostgresUrlError> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = behind;
            continue;
        }
        let digits = behind
            .get(..2)
            .and_then(|digits| str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or(PostgresUrlError::Encoding)?);
        rest = &behind[2..];
    }
    let text = String::from_utf8(bytes).map_err(|_| PostgresUrlError::Encoding)?;
    // No parameter of the protocol can have this character.
    if text.contains('\0') {
        return Err(PostgresUrlError::Encoding);
    }
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        let check = |text: &str, shown: &str, tls: TlsMode| {
            let url = PostgresUrl::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.tls), (shown, tls), "{text}");
        };
        check(
            "postgresql://ann:s%40crt@db.example.net/links",
            "postgresql://ann@db.example.net:5432/links",
            TlsMode::Verify,
        );
        check(
            "postgres://tinyns@one:5433,[2001:db8::1],three:1/x?target_session_attrs=read-write&sslmode=prefer",
            "postgresql://tinyns@one:5433,[2001:db8::1]:5432,three:1/x",
            TlsMode::Prefer,
        );
        check(
            "postgresql://%2Frun%2Fpostgresql",
            "postgresql://tinyns@/run/postgresql/.s.PGSQL.5432/tinyns",
            TlsMode::Prefer,
        );
        check(
            "postgresql:///x?host=/run/pg&connect_timeout=5",
            "postgresql://tinyns@/run/pg/.s.PGSQL.5432/x",
            TlsMode::Prefer,
        );
        check(
            "postgresql://127.0.0.1,[::1],localhost/x",
            "postgresql://tinyns@127.0.0.1:5432,[::1]:5432,localhost:5432/x",
            TlsMode::Prefer,
        );
        check(
            "postgresql://a@127.0.0.1,db/x?sslmode=disable",
            "postgresql://a@127.0.0.1:5432,db:5432/x",
            TlsMode::Disable,
        );
        for mode in ["require", "verify-full"] {
            let text = format!("postgresql://a@127.0.0.1/x?sslmode={mode}");
            check(&text, "postgresql://a@127.0.0.1:5432/x", TlsMode::Verify);
        }
        let url = PostgresUrl::parse("postgresql://a:p%40%3A%2f@h/x?connect_timeout=7").unwrap();
        assert_eq!(url.password.as_deref(), Some("p@:/"));
        assert_eq!(url.connect_timeout, Duration::from_secs(7));
        assert!(!format!("{url:?} {url}").contains("p@"));
    }

    #[test]
    fn messages_say_what_is_wrong_and_never_show_the_text() {
        use PostgresUrlError as E;
        let check = |text: &str, expected: E| {
            let error = PostgresUrl::parse(text).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            assert_eq!(error, expected, "{text}");
        };
        for text in [
            "",
            "secret",
            "mysql://secret@h/x",
            "host=h password=secret",
            "postgresql:///x",
            "postgresql://u:secret@/x",
            "postgresql://u:secret@h/x#y",
            "postgresql://u:secret@[::1]x/y",
            "postgresql://u:secret@a,,b/x",
        ] {
            check(text, E::Form);
        }
        check("postgresql://u:secret%@h/x", E::Encoding);
        check("postgresql://u:secret%ff@h/x", E::Encoding);
        check("postgresql://u:secret%00@h/x", E::Encoding);
        check("postgresql://u:secret@h:0/x", E::Port);
        check("postgresql://u:secret@h:65536/x", E::Port);
        let many = format!("postgresql://u:secret@{}/x", vec!["h"; 17].join(","));
        check(&many, E::TooManyHosts(17));
        check("postgresql://u@h/x?password=secret", E::Parameter);
        check("postgresql://u@h/x?sslmode=verify-ca", E::TlsMode);
        check("postgresql://u@h/x?target_session_attrs=any", E::Target);
        check("postgresql://u@h/x?connect_timeout=0", E::ConnectTimeout);
        check("postgresql://u@h/x?target_session_attrs=standby", E::Target);
    }

    #[test]
    fn the_url_of_a_replica_has_one_host() {
        use PostgresUrlError as E;
        for parameters in [
            "",
            "?target_session_attrs=standby",
            "?target_session_attrs=read-only",
        ] {
            let text = format!("postgresql://u@near/x{parameters}");
            let url = PostgresUrl::parse_replica(&text).unwrap();
            assert_eq!(url.to_string(), "postgresql://u@near:5432/x");
        }
        let check = |text: &str, expected: E| {
            let error = PostgresUrl::parse_replica(text).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            assert_eq!(error, expected, "{text}");
        };
        check("postgresql://u:secret@one,two/x", E::NotOneReplica(2));
        check("postgresql:///x?host=/a,/b", E::NotOneReplica(2));
        check(
            "postgresql://u:secret@h/x?target_session_attrs=primary",
            E::ReplicaTarget,
        );
        check("secret", E::Form);
    }
}
