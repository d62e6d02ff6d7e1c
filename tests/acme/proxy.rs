//! A proxy in front of Pebble: it counts requests, and it makes what Pebble cannot do: limits, errors, a request that
//! hangs, renewal information.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::pebble::Identity;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// The payload of its JWS; null if it has none.
    pub payload: Value,
}

/// What the proxy does with a request.
pub enum Verdict {
    /// Pebble answers.
    Pass,
    /// The proxy answers: status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Pebble answers, and this change is made to its JSON.
    Change(Box<dyn FnOnce(&mut Value) + Send>),
    /// Nothing answers, ever.
    Hang,
}

type Judge = Arc<dyn Fn(&Request) -> Verdict + Send + Sync>;

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    judge: Arc<Mutex<Judge>>,
}

impl Proxy {
    /// A proxy with the same certificate as the Pebble at `target`.
    pub fn start(identity: &Identity, target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (server, client) = configs(identity.dir());
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let pass: Judge = Arc::new(|_: &Request| Verdict::Pass);
        let judge = Arc::new(Mutex::new(pass));
        let (to_see, to_judge) = (seen.clone(), judge.clone());
        // It ends with the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (server, client) = (server.clone(), client.clone());
                let (seen, judge) = (to_see.clone(), to_judge.clone());
                std::thread::spawn(move || {
                    let tls = ServerConnection::new(server).unwrap();
                    let _ = serve(
                        StreamOwned::new(tls, stream?),
                        target,
                        &client,
                        &seen,
                        &judge,
                    );
                    std::io::Result::Ok(())
                });
            }
        });
        Self {
            address,
            seen,
            judge,
        }
    }

    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.address.port())
    }

    /// Does this with all requests from now on.
    pub fn judge(&self, judge: impl Fn(&Request) -> Verdict + Send + Sync + 'static) {
        *self.judge.lock().unwrap() = Arc::new(judge);
    }

    /// How many requests for paths that begin so came so far.
    pub fn count(&self, path: &str) -> usize {
        self.requests(path).len()
    }

    pub fn requests(&self, path: &str) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        let seen = seen.iter().filter(|request| request.path.starts_with(path));
        seen.cloned().collect()
    }
}

/// An answer with a problem document (RFC 8555 §6.7).
pub fn problem(status: u16, kind: &str, detail: &str, retry_after: Option<&str>) -> Verdict {
    let mut headers = vec![("content-type", "application/problem+json".to_owned())];
    headers.extend(retry_after.map(|text| ("retry-after", text.to_owned())));
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    let body = serde_json::json!({ "type": kind, "detail": detail, "status": status });
    Verdict::Answer(status, headers, body.to_string())
}

fn configs(dir: &Path) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let certificates = |name| CertificateDer::pem_file_iter(dir.join(name)).unwrap();
    let chain = certificates("server.pem").map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("ca.pem").map(Result::unwrap));
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// Answers the requests of a connection.
fn serve(
    stream: impl Read + Write,
    target: SocketAddr,
    client: &Arc<ClientConfig>,
    seen: &Mutex<Vec<Request>>,
    judge: &Mutex<Judge>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (head, body) = read(&mut stream)?;
        let Some(line) = head.first().filter(|line| !line.is_empty()) else {
            return Ok(());
        };
        let mut words = line.split(' ').map(str::to_owned);
        let request = Request {
            path: words.nth(1).unwrap(),
            payload: payload(&body),
        };
        seen.lock().unwrap().push(request.clone());
        let judge = judge.lock().unwrap().clone();
        let (head, body) = match judge(&request) {
            Verdict::Pass => forward(target, client, &head, &body)?,
            Verdict::Change(change) => {
                let (head, body) = forward(target, client, &head, &body)?;
                let mut json = serde_json::from_slice(&body)?;
                change(&mut json);
                (head, json.to_string().into_bytes())
            }
            Verdict::Answer(status, headers, body) => {
                let mut head = vec![format!("HTTP/1.1 {status} x")];
                head.extend(
                    headers
                        .iter()
                        .map(|(name, value)| format!("{name}: {value}")),
                );
                (head, body.into_bytes())
            }
            Verdict::Hang => loop {
                std::thread::park();
            },
        };
        // HEAD has a length, but no body.
        let length = body.len();
        let others = head.iter().filter(|line| !has_name(line, "content-length"));
        let text: String = others
            .filter(|line| !has_name(line, "connection") && !line.is_empty())
            .map(|line| format!("{line}\r\n"))
            .collect();
        let text = text.replacen("HTTP/1.0", "HTTP/1.1", 1);
        write!(stream.get_mut(), "{text}content-length: {length}\r\n\r\n")?;
        stream.get_mut().write_all(&body)?;
        stream.get_mut().flush()?;
    }
}

fn has_name(line: &str, name: &str) -> bool {
    let found = line.split_once(':');
    found.is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
}

/// The lines of a head, and the body that follows.
fn read(stream: &mut impl std::io::BufRead) -> std::io::Result<(Vec<String>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let length = head.iter().find(|line| has_name(line, "content-length"));
    let length = length.and_then(|line| line.split_once(':'));
    let length = length.map_or(0, |(_, text)| text.trim().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

/// The answer of Pebble.
fn forward(
    target: SocketAddr,
    client: &Arc<ClientConfig>,
    head: &[String],
    body: &[u8],
) -> std::io::Result<(Vec<String>, Vec<u8>)> {
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(client.clone(), name).unwrap();
    let mut stream = StreamOwned::new(tls, TcpStream::connect(target)?);
    // HTTP/1.0 has no chunks, and the connection ends with the body.
    let first = head[0].replace("HTTP/1.1", "HTTP/1.0");
    write!(stream, "{first}\r\n")?;
    for line in &head[1..] {
        write!(stream, "{line}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    // Go closes without the alert.
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.ok_or(std::io::ErrorKind::UnexpectedEof)?);
    let head = String::from_utf8_lossy(head);
    Ok((
        head.lines().map(str::to_owned).collect(),
        body[4..].to_vec(),
    ))
}

fn payload(body: &[u8]) -> Value {
    let jws: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = jws["payload"].as_str().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}
