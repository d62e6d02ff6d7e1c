//! A wire to a TCP server, which can be slow, hang or be cut.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The fault of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Bytes arrive late, in both directions.
    Delay(Duration),
    /// Nothing arrives; connections are taken all the same. It arrives when this is over.
    Hang,
    /// All connections are ended, and new ones as soon as they are made.
    Cut,
}

/// It passes bytes on as they are.
pub struct Wire {
    address: SocketAddr,
    upstream: watch::Sender<SocketAddr>,
    fault: watch::Sender<Fault>,
    _runtime: Runtime,
}

impl Wire {
    /// A sound wire to a server.
    pub fn to(upstream: SocketAddr) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, seen) = watch::channel(Fault::None);
        let (upstream, leads) = watch::channel(upstream);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, leads.clone(), seen.clone()));
            }
        });
        Self {
            address,
            upstream,
            fault,
            _runtime: runtime,
        }
    }

    /// Where the server is to be had through it, by the Redis protocol.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Leads to another server from now on: ends all connections to the former one.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
    }

    /// Where the server is to be had through it.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Sets the fault from now on.
    pub fn suffer(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

/// Carries one connection until a side ends it or the wire is cut.
async fn connect(
    client: TcpStream,
    mut leads: watch::Receiver<SocketAddr>,
    fault: watch::Receiver<Fault>,
) {
    let mut watched = fault.clone();
    let upstream = *leads.borrow_and_update();
    let carry = async {
        let Ok(server) = TcpStream::connect(upstream).await else {
            return;
        };
        // No Nagle's algorithm: only the fault delays bytes.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = pass_on(from_client, to_server, fault.clone()) => {}
            () = pass_on(from_server, to_client, fault) => {}
        }
    };
    tokio::select! {
        () = carry => {}
        _ = leads.changed() => {}
        _ = watched.wait_for(|fault| *fault == Fault::Cut) => {}
    }
}

async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut fault: watch::Receiver<Fault>,
) {
    // So much that a burst of calls is one piece: each piece is delayed by itself.
    let mut buffer = vec![0; 256 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let now = *fault.borrow();
        if let Fault::Delay(time) = now {
            tokio::time::sleep(time).await;
        }
        if fault.wait_for(|fault| *fault != Fault::Hang).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
