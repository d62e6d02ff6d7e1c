//! TCP (RFC 7766, RFC 9210) and TLS (RFC 7858): one accept loop a listener, one task a connection.
//!
//! ```text
//!                                                      ┌─ TLS: handshake ─┐
//!   accept ── admission: is there a seat? ──┬─ a task ──┴──────────────────┴── connection ── close
//!                                           └─ reset
//! ```
//!
//! * [`crate::base::admission`] takes connections from the system, and decides which of them stay; `admission` adds the
//!   limits and counters of DNS, and `reception` has connections served.
//! * `handshake` begins one by TLS.
//! * `connection` serves one: it reads, answers and writes. It knows no socket, so that TLS will do as well.
//! * `desk` is what a thread has for all connections that it serves; `output` holds what one client does not
//!   take yet.
//!
//! hickory's listener is not used: it has no limits, spins while the process has no descriptors, and gives
//! up what is in work when it stops.
//!
//! # Rules
//!
//! **Seats.** There are so many connections in all (`connections`), and so many for one client
//! (`connections_per_client`). Which one leaves where they are taken is decided by [`crate::base::admission`]: a
//! connection is *at rest* while none of its queries is in work, whether it is silent, or in the midst of a
//! message, or does not read.
//!
//! Connections by TCP and by TLS share the seats. One that has no handshake yet is at rest as well.
//!
//! **Time.** A connection ends when it is idle for the time that it was granted with its last query
//! (`idle`, RFC 7766 §6.2.3; told by RFC 7828). That time shrinks when less than a quarter of all seats is
//! left, to a second at the least. It ends when a message is not complete five seconds after its first byte,
//! when the client has not read in ten seconds what there was for it, and when it has lasted for `lifetime`
//! (RFC 9210 §4.2); what is in work is answered first. There is no bound on queries: those who ask most
//! would be cut off first, and `lifetime` bounds the same.
//!
//! **Work.** 64 queries of a connection may wait for their links, and some 16 KiB of replies for the client;
//! beyond either nothing more is read, and nothing is lost. Where too many queries are in work in all (16,384, UDP
//! among them), one query of each connection waits for room, and the connection is not read; those by UDP
//! are dropped. If there is none in two seconds, the query counts as dropped for overload, and the connection
//! closes when its other queries are answered: no query is lost in silence.
//!
//! **Ends.** A client that shuts its writing side is answered all it has asked (RFC 7766 §6.2.4). What is
//! not a query, or shorter than a header, closes the connection; it gets no answer, and what was asked before
//! it gets its own. A message that cannot be read is FORMERR, and the connection goes on, since it
//! is known where the next one begins. At a stop, no more is read, and what is in work is answered.

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
use self::handshake::Handshakes;
use self::reception::Reception;
use super::tls::Tls;
use crate::base::admission::Share;
use crate::dns::pipeline::handler::Handler;

/// How long connections have to end that are cut.
const CUT_TIME: Duration = Duration::from_secs(1);

/// The bounds of all TCP connections together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// How many there may be; at least one.
    pub connections: u32,
    /// How many of them one client may have, which is an IPv4 address or an IPv6 /56; at least one.
    pub connections_per_client: u32,
    /// How long one may be without a query (RFC 7766 §6.2.3).
    pub idle: Duration,
    /// How long one may last (RFC 9210 §4.2); none for no bound.
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
    /// How many connections there are to be, for the division of descriptors among all parts.
    #[must_use]
    pub fn share(&self) -> Share {
        Share {
            service: SERVICE,
            connections: self.connections,
        }
    }
}

/// Sockets for connections by TLS, which do not block.
pub struct TlsSockets {
    /// The sockets.
    pub listeners: Vec<TcpListener>,
    /// Their certificate.
    pub tls: Arc<Tls>,
}

/// All TCP listeners and their connections.
pub(crate) struct TcpListeners {
    reception: Reception,
    failures: mpsc::Receiver<String>,
}

impl TcpListeners {
    /// Serves on these sockets, which do not block. To be called within a runtime.
    ///
    /// # Errors
    /// Where the runtime cannot take a socket.
    pub(crate) fn start(
        listeners: Vec<TcpListener>,
        tls: Option<TlsSockets>,
        handler: &Handler,
        limits: TcpLimits,
    ) -> io::Result<Self> {
        let reception = Reception {
            seats: Seats::new(limits, handler.metrics().clone()),
            handler: handler.clone(),
            handshakes: None,
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let (failed, failures) = mpsc::channel(1);
        let plain = listeners.into_iter().map(|listener| (listener, None));
        let mut all: Vec<_> = plain.collect();
        if let Some(TlsSockets { listeners, tls }) = tls {
            let handshakes = Arc::new(Handshakes::new(tls));
            all.extend(
                listeners
                    .into_iter()
                    .map(|one| (one, Some(handshakes.clone()))),
            );
        }
        let taken = |(listener, handshakes)| {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            Ok((listener, handshakes))
        };
        let all = all.into_iter().map(taken);
        for (listener, handshakes) in all.collect::<io::Result<Vec<_>>>()? {
            let failed = failed.clone();
            let reception = Reception {
                handshakes,
                ..reception.clone()
            };
            let name = match &reception.handshakes {
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
                // One failure is enough; whoever comes second need not be heard.
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

    /// Takes no more connections and no more queries, and answers those that are in work, but no longer than
    /// `patience`. Returns whether all were.
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
            // Nothing in a connection blocks; and if it did, the process would end all the same.
            let _ = timeout(CUT_TIME, connections.wait()).await;
        }
        all_ended
    }
}

#[cfg(test)]
mod tests;
