//! The tasks that serve the sockets, and how many connections each part may have.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::admission::{SeatLimits, Share, divide};
use crate::base::metrics::HttpPart;
use crate::config::Config;
use crate::dns::pipeline::handler::Handler;
use crate::dns::transport::server::{DnsServer, Listener};
use crate::dns::transport::tcp::{TcpLimits, TlsSockets};
use crate::http::{Front, Https, ServeLimits, Site, serve};
use crate::server::sockets::{Sockets, StreamListener};

/// How many descriptors are reserved for everything but connections of clients: files, UDP sockets, the store, Redis.
const OTHER_DESCRIPTORS: u64 = 256;

/// Starts the tasks of the listeners. A listener that fails for good reports the reason to `failed`.
pub(super) struct Tasks {
    pub(super) tracker: TaskTracker,
    pub(super) shutdown: CancellationToken,
    pub(super) failed: mpsc::Sender<String>,
}

impl Tasks {
    pub(super) fn serve_dns(
        &self,
        (listeners, tls): (Vec<Listener>, Option<TlsSockets>),
        handler: Handler,
        limits: TcpLimits,
    ) {
        let (shutdown, failed) = (self.shutdown.clone(), self.failed.clone());
        self.tracker.spawn(async move {
            let mut server = match DnsServer::start(listeners, tls, handler, limits) {
                Ok(server) => server,
                Err(error) => return report(&failed, format!("DNS: {error}")),
            };
            tokio::select! {
                failure = server.failed() => {
                    report(&failed, format!("DNS: {failure}"));
                    // The other sockets serve on until the server stops.
                    shutdown.cancelled().await;
                }
                () = shutdown.cancelled() => {}
            }
            server.shutdown().await;
        });
    }

    pub(super) fn serve_http(
        &self,
        front: &Front,
        https: Option<Https>,
        listeners: Vec<StreamListener>,
        site: &Arc<dyn Site>,
    ) {
        for StreamListener { listener, local } in listeners {
            let (shutdown, failed) = (self.shutdown.clone(), self.failed.clone());
            let (site, front, https) = (Arc::clone(site), front.clone(), https.clone());
            self.tracker.spawn(async move {
                let (limits, service) = (ServeLimits::default(), front.name());
                let served = match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, site, front, https, limits, shutdown).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    report(&failed, format!("{service} on {local}: {error}"));
                }
            });
        }
    }
}

/// How many connections each part may have.
pub(super) struct ConnectionLimits {
    pub(super) tcp: TcpLimits,
    pub(super) admin: SeatLimits,
    pub(super) redirect: SeatLimits,
}

impl ConnectionLimits {
    /// The configured limits, or less if the limit on open files is too low for them. A part without a listener gets
    /// no share of the open files.
    pub(super) fn of(config: &Config, sockets: &Sockets) -> Self {
        let dns = sockets.dns.iter().map(Listener::descriptors).sum::<usize>();
        let listening = dns + sockets.dns_tls.len() + sockets.admin.len();
        let listening = listening + sockets.redirect.len() + sockets.https.len();
        let others = u64::try_from(listening).unwrap_or(u64::MAX);
        let others = others.saturating_add(OTHER_DESCRIPTORS);
        let mut limits = Self {
            tcp: config.dns.tcp,
            admin: config.admin.connections.clone(),
            redirect: config.redirect.connections.clone(),
        };
        let share = |part: HttpPart, connections| Share {
            service: part.name(),
            connections,
        };
        let mut wanted = vec![limits.tcp.share()];
        let mut places = vec![&mut limits.tcp.connections];
        let serves_admin = !sockets.admin.is_empty();
        let serves_redirects = !sockets.redirect.is_empty() || !sockets.https.is_empty();
        for (part, is_served, seats) in [
            (HttpPart::Admin, serves_admin, &mut limits.admin),
            (HttpPart::Redirect, serves_redirects, &mut limits.redirect),
        ] {
            if is_served {
                wanted.push(share(part, seats.connections));
                places.push(&mut seats.connections);
            }
        }
        for (place, given) in places.into_iter().zip(divide(&wanted, others)) {
            *place = given;
        }
        limits
    }
}

/// Reports a failure. The first one stops the server, so later ones are only logged.
fn report(failed: &mpsc::Sender<String>, failure: String) {
    if let Err(error) = failed.try_send(failure) {
        tracing::debug!(%error, "another failure was reported first");
    }
}
