//! The admin API of a command, and the token for it: from the arguments, the environment or the configuration.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use url::Url;

use super::access::AccessArgs;
use super::api_client::{Api, is_loopback, parse_server};
use super::configuration::load;
use crate::base::environment;
use crate::base::files::read_regular;
use crate::config::Config;
use crate::server::TOKEN_VARIABLE;

/// The most bytes that are read of a token file; its first line is the token.
const MAX_TOKEN_FILE_LEN: u64 = 1_024;

/// Why no request can be made.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error(
        "the configuration turns the admin API off (admin.listen = []); name a server with --server"
    )]
    NoAdmin,
    #[error("no token for {0}: set {TOKEN_VARIABLE}, or name a file with --token-file")]
    NoToken(Url),
    #[error("{TOKEN_VARIABLE} is not UTF-8 text")]
    TokenVariable,
    #[error("cannot read the token file {}; the server creates it at its first start", .file.display())]
    NoTokenFile { file: PathBuf, source: io::Error },
    #[error(
        "the first line of {0} is not a token: a token has visible ASCII characters and no blanks"
    )]
    NotAToken(String),
}

/// An admin API, and the token for it.
pub(super) struct Client {
    pub(super) api: Api,
    pub(super) token: String,
    /// Where its server answers queries, if that is known.
    pub(super) dns: Option<SocketAddr>,
}

impl Client {
    pub(super) fn new(args: &AccessArgs, path: Option<&Path>) -> anyhow::Result<Self> {
        let variable = environment::value(TOKEN_VARIABLE);
        let named = match (&args.token_file, variable) {
            (Some(file), _) => Some(token_in(file)?),
            (None, Some(token)) => {
                let token = token
                    .into_string()
                    .map_err(|_| ClientError::TokenVariable)?;
                Some(first_line(&token, TOKEN_VARIABLE)?)
            }
            (None, None) => None,
        };
        if let Some(server) = args.server.server.clone() {
            let token = match named {
                Some(token) => token,
                // Other servers do not get the token of this machine's server, unless the operator names its
                // configuration.
                None if path.is_none() && !is_loopback(&server) => {
                    return Err(ClientError::NoToken(server).into());
                }
                None => token_in(&load(path)?.admin.token_file)?,
            };
            return Ok(Self {
                api: Api::new(server),
                token,
                dns: None,
            });
        }
        let config = load(path)?;
        let server = admin_url(&config)?;
        let token = match named {
            Some(token) => token,
            None => token_in(&config.admin.token_file)?,
        };
        Ok(Self {
            api: Api::new(server),
            token,
            dns: config.dns.listen.first().copied().map(reachable),
        })
    }
}

/// The URL of the admin API of a configuration, on its own machine.
pub(super) fn admin_url(config: &Config) -> anyhow::Result<Url> {
    let address = config.admin.listen.first().ok_or(ClientError::NoAdmin)?;
    let url = format!("http://{}", reachable(*address));
    parse_server(&url).with_context(|| format!("{address} does not fit into a URL"))
}

/// The address to connect to on the listener's own machine. The unspecified address becomes the loopback address.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The token in the first line of a file.
fn token_in(file: &Path) -> Result<String, ClientError> {
    let read = read_regular(file, MAX_TOKEN_FILE_LEN);
    let bytes = read.map_err(|source| ClientError::NoTokenFile {
        file: file.into(),
        source,
    })?;
    first_line(
        &String::from_utf8_lossy(&bytes),
        &file.display().to_string(),
    )
}

/// The first line of a text as a token. The token goes into a header, so it must not contain a line break. A
/// bad token is not shown, since it may be a secret with a typo.
fn first_line(text: &str, origin: &str) -> Result<String, ClientError> {
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ClientError::NotAToken(origin.into()));
    }
    Ok(token.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::access::ServerArgs;

    #[test]
    fn the_admin_api_of_a_configuration() {
        let url = |listen: &str| {
            let config = Config::parse(&format!("[admin]\nlisten = {listen}\n"), Path::new("t"));
            admin_url(&config.unwrap())
                .map(String::from)
                .map_err(|e| e.to_string())
        };
        assert_eq!(url("\"127.0.0.1:8053\"").unwrap(), "http://127.0.0.1:8053/");
        assert_eq!(url("\"0.0.0.0:8053\"").unwrap(), "http://127.0.0.1:8053/");
        assert_eq!(
            url("[\"[::]:80\", \"192.0.2.1:1\"]").unwrap(),
            "http://[::1]/"
        );
        assert_eq!(
            url("[]").unwrap_err(),
            "the configuration turns the admin API off (admin.listen = []); name a server with --server"
        );
    }

    #[test]
    fn tokens() {
        let ok = |text: &str| first_line(text, "x").unwrap();
        assert_eq!(ok("secret"), "secret");
        assert_eq!(ok(" secret \r\nanything"), "secret");
        for text in ["", "\n", "\nsecret", "a b", "a\u{e9}", "a\u{7f}"] {
            assert_eq!(
                first_line(text, "x").unwrap_err().to_string(),
                "the first line of x is not a token: a token has visible ASCII characters and no blanks",
                "{text:?}"
            );
        }
        let error = anyhow::Error::new(token_in(Path::new("/nonexistent/t")).unwrap_err());
        assert_eq!(
            format!("{error:#}"),
            "cannot read the token file /nonexistent/t; the server creates it at its first start: \
             No such file or directory (os error 2)"
        );
    }

    fn access(server: &str, token_file: Option<PathBuf>) -> AccessArgs {
        AccessArgs {
            server: ServerArgs {
                server: Some(parse_server(server).unwrap()),
            },
            token_file,
        }
    }

    #[test]
    fn other_servers_do_not_get_this_machines_token() {
        // The test needs an environment without the variable.
        if environment::value(TOKEN_VARIABLE).is_some() {
            return;
        }
        let refused = |server: &str| {
            let client = Client::new(&access(server, None), None);
            client.err().unwrap().to_string()
        };
        assert_eq!(
            refused("https://dns.example/"),
            "no token for https://dns.example/: set TINYNS_ADMIN_TOKEN, or name a file with \
             --token-file"
        );
        // For a loopback address the default token file is read. It exists if a server has run here.
        if !Path::new("data/admin.token").exists() {
            assert!(refused("http://127.0.0.1:1/").starts_with("cannot read the token file data/"));
        }
    }
}
