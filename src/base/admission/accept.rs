//! The listening socket: it takes connections, and goes on after errors.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use prometheus_client::metrics::counter::Counter;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::seats::Seats;

/// How long to wait before the next `accept` when descriptors or memory are short; doubled for each error in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long connections must be accepted without an error before the log says that the shortage is over.
const CALM_TIME: Duration = Duration::from_secs(10);

/// The surroundings of an accept loop.
pub(crate) struct Listening<'a> {
    pub(crate) seats: &'a Seats,
    /// Counts how often descriptors or memory were short.
    pub(crate) errors: &'a Counter,
    pub(crate) stop: &'a CancellationToken,
}

/// What an error of `accept` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It concerns only the connection to be accepted, which is gone.
    Gone,
    /// Descriptors or memory are short. The connection is still in the system's queue, so without a pause the loop
    /// would spin.
    Short,
    /// The socket is no listener. This does not change.
    Fatal,
}

impl Trouble {
    fn of(error: &io::Error) -> Self {
        let Some(code) = error.raw_os_error() else {
            return Self::Short;
        };
        match Errno::from_raw(code) {
            // Linux passes on pending network errors of the new socket; accept(2) says to treat them like EAGAIN.
            // EPERM: a firewall forbids the connection.
            Errno::ECONNABORTED
            | Errno::ECONNRESET
            | Errno::EINTR
            | Errno::EPERM
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::ENETDOWN
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::EHOSTUNREACH
            | Errno::ETIMEDOUT => Self::Gone,
            Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EFAULT => Self::Fatal,
            _ => Self::Short,
        }
    }
}

/// Takes connections until `stop` is cancelled, and passes each to `receive`. The listener is closed when it returns.
///
/// # Errors
/// Only if the socket is no listener.
pub(crate) async fn accept_all(
    listener: TcpListener,
    listening: Listening<'_>,
    mut receive: impl FnMut(TcpStream, SocketAddr),
) -> io::Result<()> {
    let Listening {
        seats,
        errors,
        stop,
    } = listening;
    let mut pause = FIRST_PAUSE;
    let mut shortage = Shortage::of(seats.service(), listener.local_addr()?);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
            () = shortage.over() => {
                shortage.end();
                continue;
            }
        };
        let error = match accepted {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                receive(stream, peer);
                // Connections that were ordered to leave should do so before the next one is accepted.
                if seats.is_any_leaving() {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            Err(error) => error,
        };
        match Trouble::of(&error) {
            Trouble::Gone => {}
            Trouble::Fatal => return Err(error),
            Trouble::Short => {
                errors.inc();
                shortage.note(&error);
                seats.free_descriptor();
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Has the system drop data that a client has not acknowledged after this time, so that the system's memory has a
/// bound, too. If the system refuses the option, the connection works without it.
pub(crate) fn set_user_timeout(stream: &TcpStream, time: Duration) {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
        let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = setsockopt(stream, TcpUserTimeout, &millis) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, time);
}

/// Has the connection reset when it is closed. Nothing of it remains: no unread data, and no state in TIME_WAIT (RFC
/// 9210 §4.3), with which a flood of connections would fill the system's tables.
pub(crate) fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "SO_LINGER");
    }
}

/// A time in which connections cannot be accepted. The log gets a line when it begins, and one when it is over.
struct Shortage {
    service: &'static str,
    /// The listener.
    local: SocketAddr,
    current: Option<Current>,
}

struct Current {
    since: Instant,
    last: Instant,
    errors: u64,
}

impl Shortage {
    fn of(service: &'static str, local: SocketAddr) -> Self {
        Self {
            service,
            local,
            current: None,
        }
    }

    fn note(&mut self, error: &io::Error) {
        let now = Instant::now();
        if let Some(current) = &mut self.current {
            current.last = now;
            current.errors += 1;
            return;
        }
        self.current = Some(Current {
            since: now,
            last: now,
            errors: 1,
        });
        tracing::error!(
            service = self.service,
            address = %self.local,
            %error,
            "cannot accept connections; pausing for up to a second at a time, and closing the connection that has \
             waited longest for its client each time"
        );
    }

    /// Waits until the shortage is over; for ever if there is none.
    async fn over(&self) {
        match &self.current {
            Some(current) => sleep_until(current.last + CALM_TIME).await,
            None => std::future::pending().await,
        }
    }

    fn end(&mut self) {
        if let Some(Current {
            since,
            last,
            errors,
        }) = self.current.take()
        {
            tracing::info!(
                service = self.service,
                address = %self.local,
                seconds = (last - since).as_secs(),
                errors,
                "connections are accepted again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_accept_have_three_classes() {
        let of = |code: Errno| Trouble::of(&io::Error::from_raw_os_error(code as i32));
        for code in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM] {
            assert_eq!(of(code), Trouble::Short, "{code}");
        }
        for code in [Errno::ECONNABORTED, Errno::EPROTO, Errno::ENETDOWN] {
            assert_eq!(of(code), Trouble::Gone, "{code}");
        }
        assert_eq!(of(Errno::EBADF), Trouble::Fatal);
        // After an unknown error the loop pauses: a slow loop is better than one that spins.
        assert_eq!(of(Errno::EXDEV), Trouble::Short);
    }
}
