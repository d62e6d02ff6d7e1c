//! TCP (RFC 7766, RFC 9210) and TLS (RFC 7858): one accept loop for each listener, one task for each connection.
//!
//! ```text
//!                                                      ┌─ TLS: handshake ─┐
//!   accept ── admission: is there a seat? ──┬─ a task ──┴──────────────────┴── connection ── close
//!                                           └─ reset
//! ```
//!
//! * [`crate::base::admission`] takes connections from the system, and decides which of them stay; `admission` adds
//!   the limits and counters of DNS, and `reception` starts the task of each connection.
//! * `handshake` performs TLS handshakes.
//! * `connection` serves one connection: it reads, answers and writes, by TCP and TLS alike.
//! * `desk` has the buffers that a thread uses for all its connections; `output` has the replies that one client has
//!   not read yet.
//!
//! hickory's listener is not used: it has no limits, spins while the process has no descriptors, and drops waiting
//! queries when it stops.
//!
//! # Rules
//!
//! **Seats.** The number of connections is bounded in all (`connections`) and for each client
//! (`connections_per_client`). When no seat is free, [`crate::base::admission`] decides which connection leaves. A
//! connection is *at rest* while none of its queries waits: it is silent, or in the middle of a message, or does not
//! read.
//!
//! TCP and TLS connections share the seats. A connection before its handshake is at rest as well.
//!
//! **Time.** A connection ends when it has been idle for the time that its last reply granted (`idle`, RFC 7766
//! §6.2.3; announced by RFC 7828). That time shrinks, down to one second, while less than a quarter of all seats is
//! free. A connection also ends when a message is not complete five seconds after its first byte, when the client
//! has not read the replies that are ready within ten seconds, and after `lifetime` (RFC 9210 §4.2); waiting queries
//! are answered first. The number of queries has no bound: it would cut off the busiest clients first, and
//! `lifetime` serves the same purpose.
//!
//! **Work.** 64 queries of a connection may wait for their links, and some 16 KiB of replies for the client. The
//! connection is not read beyond either bound, so nothing is lost. While 16,384 queries wait in all, UDP included,
//! one query of each connection waits for a permit, and the connection is not read; queries by UDP are dropped.
//! Without a permit after two seconds, the query counts as dropped for overload, and the connection closes when its
//! other queries are answered: no query is lost in silence.
//!
//! **Ends.** A client that shuts its writing side gets the replies to all its queries (RFC 7766 §6.2.4). A message
//! that is no query, or is shorter than a header, gets no reply and closes the connection; earlier queries are still
//! answered. A malformed query gets FORMERR, and the connection goes on, since the next message can be found. When
//! the server stops, it reads no more, and answers waiting queries.

mod admission;
mod connection;
mod desk;
mod handshake;
mod output;
mod reception;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::{Order, SERVICE, Seats};
use self::handshake::TlsConnections;
use self::reception::Reception;
use crate::base::admission::Share;
use crate::certificates::{Handshakes, Tls};
use crate::dns::pipeline::handler::Handler;

/// How long connections may take to end after they were cut.
const CUT_TIME: Duration = Duration::from_secs(1);

/// The bounds of all TCP connections together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// How many there may be; at least one.
    pub connections: u32,
    /// How many of them one client (an IPv4 address, or an IPv6 /56) may have; at least one.
    pub connections_per_client: u32,
    /// How long a connection may stay without a query (RFC 7766 §6.2.3).
    pub idle: Duration,
    /// How long a connection may last (RFC 9210 §4.2); none for no bound.
    pub lifetime: Option<Duration>,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            connections_per_client: 64,
            idle: Duration::from_secs(10),
            lifetime: Some(Duration::from_secs(60 * 60)),
        }
    }
}

impl TcpLimits {
    /// The wanted number of connections, for the division of file descriptors among all parts.
    #[must_use]
    pub fn share(&self) -> Share {
        Share {
            service: SERVICE,
            connections: self.connections,
        }
    }
}

/// Listeners for TLS, which are non-blocking.
pub struct TlsSockets {
    /// The sockets.
    pub listeners: Vec<TcpListener>,
    /// Their certificate.
    pub tls: Arc<Tls>,
    /// The turns of their handshakes.
    pub handshakes: Handshakes,
}

/// All TCP listeners and their connections.
pub(crate) struct TcpListeners {
    reception: Reception,
    failures: mpsc::Receiver<String>,
}

impl TcpListeners {
    /// Serves on these sockets, which are non-blocking. Call it within a runtime.
    ///
    /// # Errors
    /// The runtime cannot take a socket.
    pub(crate) fn start(
        listeners: Vec<TcpListener>,
        tls: Option<TlsSockets>,
        handler: &Handler,
        limits: TcpLimits,
    ) -> io::Result<Self> {
        let reception = Reception {
            seats: Seats::new(limits, handler.metrics().clone()),
            handler: handler.clone(),
            tls: None,
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let (failed, failures) = mpsc::channel(1);
        let plain = listeners.into_iter().map(|listener| (listener, None));
        let mut all: Vec<_> = plain.collect();
        if let Some(sockets) = tls {
            let tls = Arc::new(TlsConnections {
                tls: sockets.tls,
                handshakes: sockets.handshakes,
            });
            let listeners = sockets.listeners.into_iter();
            all.extend(listeners.map(|one| (one, Some(tls.clone()))));
        }
        let taken = |(listener, tls)| {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            Ok((listener, tls))
        };
        let all = all.into_iter().map(taken);
        for (listener, tls) in all.collect::<io::Result<Vec<_>>>()? {
            let failed = failed.clone();
            let reception = Reception {
                tls,
                ..reception.clone()
            };
            let name = match &reception.tls {
                None => "TCP",
                Some(_) => "TLS",
            };
            let local = listener.local_addr()?;
            let accepting = tokio::spawn(reception.accept_all(listener));
            tokio::spawn(async move {
                let failure = match accepting.await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                // The first failure stops the server; others need no report.
                let _ = failed.try_send(format!("{name} on {local}: {failure}"));
            });
        }
        Ok(Self {
            reception,
            failures,
        })
    }

    /// Waits until a listener fails for good.
    pub(crate) async fn failed(&mut self) -> String {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => "all TCP listeners have ended".into(),
        }
    }

    /// Takes no more connections and queries, and answers the waiting queries, but no longer than `patience`.
    /// Returns whether all were answered.
    pub(crate) async fn stop(self, patience: Duration) -> bool {
        let Reception {
            seats,
            connections,
            stop,
            ..
        } = self.reception;
        stop.cancel();
        seats.close(Order::Stop);
        connections.close();
        let all_ended = timeout(patience, connections.wait()).await.is_ok();
        if !all_ended {
            seats.close(Order::Cut);
            // No connection blocks; if one did, the process would end all the same.
            let _ = timeout(CUT_TIME, connections.wait()).await;
        }
        all_ended
    }
}

#[cfg(test)]
mod tests;
