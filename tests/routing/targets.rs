//! Hosts that health checks find up or down.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::own_host;

/// The port of all hosts.
pub const PORT: u16 = 8_098;

/// What a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It responds with this status.
    Respond(u16),
    /// It accepts connections and never responds.
    Hang,
    /// It refuses connections.
    Refuse,
}

/// A host with an address of its own.
pub struct Host {
    pub address: Ipv4Addr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    does: Mutex<Does>,
    accepted: AtomicUsize,
    /// The head of the last request.
    request: Mutex<String>,
    is_over: AtomicBool,
}

impl Host {
    pub fn new(does: Does) -> Self {
        let address = own_host();
        let state = Arc::new(State {
            does: Mutex::new(does),
            accepted: AtomicUsize::new(0),
            request: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        // Before the server of the test starts.
        let first = (does != Does::Refuse).then(|| listen(address));
        let of_thread = state.clone();
        let thread = std::thread::spawn(move || of_thread.serve(address, first));
        Self {
            address,
            state,
            thread: Some(thread),
        }
    }

    pub fn set(&self, does: Does) {
        *self.state.does.lock().unwrap() = does;
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }

    pub fn request(&self) -> String {
        self.state.request.lock().unwrap().clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(address: Ipv4Addr) -> TcpListener {
    let listener = TcpListener::bind((address, PORT)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

impl State {
    fn serve(&self, address: Ipv4Addr, mut listener: Option<TcpListener>) {
        let mut hanging = Vec::new();
        while !self.is_over.load(Ordering::Relaxed) {
            let does = *self.does.lock().unwrap();
            if does == Does::Refuse {
                listener = None;
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let listener = listener.get_or_insert_with(|| listen(address));
            match listener.accept() {
                Ok((stream, _)) => {
                    self.accepted.fetch_add(1, Ordering::Relaxed);
                    match does {
                        Does::Respond(status) => self.respond(stream, status),
                        Does::Hang | Does::Refuse => hanging.push(stream),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn respond(&self, mut stream: TcpStream, status: u16) {
        stream.set_nonblocking(false).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let mut head = Vec::new();
        let mut some = [0; 1_024];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut some) {
                Ok(0) | Err(_) => return,
                Ok(len) => head.extend_from_slice(&some[..len]),
            }
        }
        *self.request.lock().unwrap() = String::from_utf8_lossy(&head).into_owned();
        let text = format!("HTTP/1.1 {status} X\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.write_all(text.as_bytes());
    }
}
