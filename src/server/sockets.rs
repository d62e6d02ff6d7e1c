//! The sockets of a server, bound by the server or by its service manager.
//!
//! This is a separate step before [`start`](fn@crate::server::start): binding needs privileges, and everything later
//! must work without them (see [`system::privileges`](crate::server::system::privileges)).

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::config::Config;
use crate::dns::transport::server::{Listener, MAX_UDP_SOCKETS, bind_tcp};
use crate::server::system::handed::{Address, Handed, HandedError, Part};

/// Why the sockets cannot be opened. Sockets that were bound before the error are closed again.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The server cannot listen on an address.
    #[error("cannot listen on {address} for {service}: {source}")]
    Listen {
        /// The service that it is for.
        service: &'static str,
        /// The configured address.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The service manager has handed over other sockets than the configuration needs.
    #[error("the service manager's sockets do not fit the configuration: {0}")]
    Handed(#[from] HandedError),
}

/// All sockets of a server, bound and not yet served.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) dns: Vec<Listener>,
    pub(crate) dns_tls: Vec<StreamListener>,
    pub(crate) admin: Vec<StreamListener>,
    pub(crate) redirect: Vec<StreamListener>,
    pub(crate) https: Vec<StreamListener>,
}

/// A socket of a part that uses TCP only: HTTP, or DNS over TLS.
#[derive(Debug)]
pub(crate) struct StreamListener {
    pub(crate) listener: TcpListener,
    pub(crate) local: SocketAddr,
}

impl Sockets {
    /// Takes the sockets that were handed over, and binds the addresses of all parts without such sockets.
    ///
    /// # Errors
    /// [`SocketError`] names the address, or the socket that does not fit.
    pub fn open(config: &Config, mut handed: Handed) -> Result<Self, SocketError> {
        let dns = Part {
            name: "dns",
            listen: &config.dns.listen,
            most_udp: MAX_UDP_SOCKETS,
        };
        let stream = |name, listen| Part {
            name,
            listen,
            most_udp: 0,
        };
        let dns = open(dns, "DNS", &mut handed, Listener::bind, |address| {
            Listener::new(address.udp, address.tcp)
        })?;
        let mut open_stream = |part, service| {
            open(
                part,
                service,
                &mut handed,
                StreamListener::bind,
                |address| {
                    let Address { local, tcp, .. } = address;
                    let listener = tcp;
                    Ok(StreamListener { listener, local })
                },
            )
        };
        let tls = config.dns.tls.as_ref().map(|tls| &tls.listen[..]);
        let dns_tls = open_stream(stream("dns.tls", tls.unwrap_or_default()), "DNS over TLS")?;
        let admin = open_stream(stream("admin", &config.admin.listen), "the admin API")?;
        let redirect = open_stream(
            stream("redirect", &config.redirect.listen),
            "the redirect host",
        )?;
        let https = config.https.as_ref().map(|https| &https.listen[..]);
        let https = open_stream(stream("https", https.unwrap_or_default()), "HTTPS")?;
        handed.finish()?;
        Ok(Self {
            dns,
            dns_tls,
            admin,
            redirect,
            https,
        })
    }
}

/// The listeners of one part.
fn open<L>(
    part: Part<'_>,
    service: &'static str,
    handed: &mut Handed,
    bind: impl Fn(SocketAddr) -> io::Result<L>,
    take: impl Fn(Address) -> io::Result<L>,
) -> Result<Vec<L>, SocketError> {
    let failed = |address| {
        move |source| SocketError::Listen {
            service,
            address,
            source,
        }
    };
    match handed.take(part)? {
        Some(addresses) => addresses
            .into_iter()
            .map(|address| {
                let local = address.local;
                take(address).map_err(failed(local))
            })
            .collect(),
        None => part
            .listen
            .iter()
            .map(|&address| bind(address).map_err(failed(address)))
            .collect(),
    }
}

impl StreamListener {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = bind_tcp(address)?;
        let local = listener.local_addr()?;
        Ok(Self { listener, local })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn both_families_share_a_port() {
        let free = TcpListener::bind("[::]:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let listen = format!("listen = [\"[::]:{port}\", \"0.0.0.0:{port}\"]");
        let text = format!(
            "[dns]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = []\n[redirect]\n{listen}\n"
        );
        let config = Config::parse(&text, Path::new("t.toml")).unwrap();
        let sockets = Sockets::open(&config, Handed::default()).unwrap();
        let bound: Vec<_> = sockets.redirect.iter().map(|http| http.local).collect();
        assert_eq!(bound, config.redirect.listen);
        assert!(sockets.admin.is_empty());
    }
}
