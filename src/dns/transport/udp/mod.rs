//! UDP: one thread and one socket for each core, many packets with one system call.
//!
//! ```text
//!   socket ── receive up to BATCH ── decode ─┬─ reply at once ─────────── send all of them ── socket
//!   (SO_REUSEPORT)                           ├─ waits for a link ── task ── sender: gathers ──┤
//!                                            └─ to be signed ── queue ── signer: sends all ───┘
//! ```
//!
//! hickory's own loop spawns a task for each packet, makes some thirty allocations, and sends each reply with a
//! system call of its own. Here the thread that has received a query makes its reply, and sends it together with the
//! other replies of the batch. Only a query that waits for its link becomes a task. The number of such tasks is
//! bounded, and a store that hangs does not slow down replies from memory. The sender sends the replies of all tasks
//! that are ready together.
//!
//! The kernel divides clients among the sockets by their addresses. SO_REUSEPORT would let a second server of the
//! same user take a share of the queries; the TCP listener prevents that, since no other process can bind its port.

mod batch;
mod samples;
mod signing_thread;

use std::cell::RefCell;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

pub(crate) use self::batch::tell_local;
use self::batch::{Inbox, Outbox, Peer};
use self::samples::Samples;
use self::signing_thread::{Queue, Signer, Unsigned};
use crate::base::metrics::{DropReason, LocalTimes, Times, Transport};
use crate::dns::pipeline::handler::Handler;
use crate::dns::pipeline::packet::{ENCODING, Fate, Packet, Resolved, Waiting};
use crate::dns::pipeline::pending::Signatures;
use crate::dns::pipeline::respond::Scratch;
use crate::dns::pipeline::tally::Tally;
use crate::dns::pipeline::via::Via;
use crate::dns::query_log::Sampled;
use crate::dns::watchdog::Mark;
use crate::dns::wire::reply::ReplyBuffer;

/// How many packets one system call receives at most.
const BATCH: usize = 64;
/// How many packets are read before the first reply is made, so that the memory for all their answers is fetched at
/// once.
const GROUP: usize = 16;
/// A worker gives way after a batch of at most so many packets if none of them has a reply yet. Where worker and tasks
/// share a core, it would else run for each packet alone: now the tasks make their replies first, meanwhile packets gather,
/// and one call of Redis asks for all their links. On a core without other work the worker goes on at once. A longer batch
/// means that packets wait already.
const FEW: usize = 16;
/// How often a worker without queries checks whether to stop.
const STOP_LOOK: Duration = Duration::from_millis(100);
/// The receive buffer of a socket, in bytes: room for some thousand queries while its worker is not scheduled. The
/// system grants at most `net.core.rmem_max`.
const RECEIVE_BUFFER: usize = 2 << 20;
/// How many replies of tasks may wait for the sender. It does not block, so they need not have room for all tasks.
const SENDER_QUEUE: usize = 4_096;
/// How many errors in a row end a worker. It pauses after each.
const MAX_ERRORS: u32 = 50;
const ERROR_PAUSE: Duration = Duration::from_millis(20);

/// The threads of all UDP sockets.
pub(crate) struct UdpWorkers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    senders: Vec<tokio::task::JoinHandle<()>>,
    failures: mpsc::Receiver<String>,
}

impl UdpWorkers {
    /// Starts a thread for each of these sockets. Call it within a runtime: queries that wait become its tasks.
    pub(crate) fn start(sockets: Vec<UdpSocket>, handler: &Handler) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (failed, failures) = mpsc::channel(1);
        let (mut threads, mut senders) = (Vec::new(), Vec::new());
        for (number, socket) in sockets.into_iter().enumerate() {
            let (mut worker, sender) =
                Worker::new(socket, handler.clone(), stop.clone(), Handle::current())?;
            if handler.has_signed() {
                let signer = worker.add_signer();
                let name = format!("udp-{number}-sign");
                threads.push(spawn(name, failed.clone(), || signer.run())?);
            }
            let name = format!("udp-{number}");
            threads.push(spawn(name, failed.clone(), || worker.run())?);
            senders.push(sender);
        }
        Ok(Self {
            stop,
            threads,
            senders,
            failures,
        })
    }

    /// Waits until a worker fails for good.
    pub(crate) async fn failed(&mut self) -> String {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => "all UDP workers have ended".into(),
        }
    }

    /// Takes no more queries, and waits until the threads have ended. Returns the senders of tasks' replies; each
    /// ends after its last reply.
    pub(crate) async fn stop(self) -> Vec<tokio::task::JoinHandle<()>> {
        self.stop.store(true, Ordering::Release);
        let joined = tokio::task::spawn_blocking(move || {
            self.threads
                .into_iter()
                .map(JoinHandle::join)
                .filter(Result::is_err)
                .count()
        });
        if joined.await.unwrap_or(1) > 0 {
            tracing::error!("a UDP worker panicked");
        }
        self.senders
    }
}

/// Starts a thread that reports its failure.
fn spawn(
    name: String,
    failed: mpsc::Sender<String>,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name).spawn(move || {
        let alarm = Alarm(failed);
        if let Err(error) = work() {
            alarm.tell(format!("UDP: {error}"));
        }
    })
}

/// Reports the failure of a worker, also by a panic: without the worker, its share of the clients would get no
/// replies.
struct Alarm(mpsc::Sender<String>);

impl Alarm {
    fn tell(&self, failure: String) {
        // The first failure stops the server; others need no report.
        let _ = self.0.try_send(failure);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell("a UDP worker panicked".into());
        }
    }
}

/// Prepares a socket for a worker.
fn prepare(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(STOP_LOOK))?;
    let reference = SockRef::from(socket);
    // The system reports twice the requested size, to include its own needs. A service manager may have set a larger
    // size than tinyns is allowed to.
    if reference
        .recv_buffer_size()
        .is_ok_and(|size| size >= 2 * RECEIVE_BUFFER)
    {
        return Ok(());
    }
    // The default size works too, with room for fewer packets.
    if let Err(error) = reference.set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::debug!(%error, "cannot enlarge the UDP receive buffer");
    }
    Ok(())
}

/// One thread's work.
struct Worker {
    socket: Arc<UdpSocket>,
    handler: Handler,
    stop: Arc<AtomicBool>,
    runtime: Handle,
    mark: Mark,
    /// To the sender of this socket.
    replies: mpsc::Sender<Later>,
    /// To the signing thread, if a zone is signed.
    signer: Option<Queue>,
}

/// A reply of a task.
struct Later {
    reply: Box<[u8]>,
    peer: Peer,
    /// When its query was read.
    began: Instant,
}

impl Worker {
    fn new(
        socket: UdpSocket,
        handler: Handler,
        stop: Arc<AtomicBool>,
        runtime: Handle,
    ) -> io::Result<(Self, tokio::task::JoinHandle<()>)> {
        prepare(&socket)?;
        let socket = Arc::new(socket);
        let (replies, waiting) = mpsc::channel(SENDER_QUEUE);
        // The sender ends when the worker and all its tasks have ended.
        let sender = runtime.spawn(send_all(waiting, socket.clone(), handler.clone()));
        let mark = handler.pulse().mark();
        let worker = Self {
            socket,
            handler,
            stop,
            runtime,
            mark,
            replies,
            signer: None,
        };
        Ok((worker, sender))
    }

    /// Makes the signer of this worker.
    fn add_signer(&mut self) -> Signer {
        let (queue, signer) = Signer::new(
            self.socket.clone(),
            self.handler.clone(),
            self.runtime.clone(),
            self.replies.clone(),
        );
        self.signer = Some(queue);
        signer
    }

    /// Serves until the stop flag is set.
    fn run(self) -> io::Result<()> {
        let _entered = self.runtime.enter();
        let tells_local = tell_local(&self.socket).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot learn the destination addresses of UDP queries; replies may leave from another address");
            false
        });
        let mut inbox = Inbox::new(BATCH, tells_local);
        let mut outbox = Outbox::new(BATCH, self.handler.udp_payload());
        let mut encoding = Vec::with_capacity(ENCODING);
        let mut waiting = Vec::with_capacity(BATCH);
        let mut tally = Tally::of_worker(self.handler.lookups());
        let mut times = LocalTimes::default();
        let local = self.socket.local_addr()?;
        let mut errors = 0;
        while !self.stop.load(Ordering::Acquire) {
            self.mark.leave();
            match inbox.receive(&self.socket) {
                Ok(()) => errors = 0,
                Err(error) if is_idle(&error) => {
                    times.tell(self.times());
                    tally.rest();
                    continue;
                }
                // An ICMP error about an earlier reply, or a short lack of memory.
                Err(error) => {
                    errors += 1;
                    if errors == MAX_ERRORS {
                        return Err(error);
                    }
                    tracing::debug!(%error, "cannot receive by UDP");
                    thread::sleep(ERROR_PAUSE);
                    continue;
                }
            }
            let mut samples = Samples::of(self.handler.query_log(), &inbox, local);
            let now = self.handler.time();
            let mut packets = inbox.packets();
            while let Some(group) = self.group(&mut packets, &tally) {
                for (packet, peer) in group.iter().flatten() {
                    let Some(reply) = outbox.next() else { break };
                    let scratch = Scratch {
                        reply,
                        encoding: &mut encoding,
                    };
                    let later = Signatures::Later;
                    match self.handler.take(packet, &now, scratch, &mut tally, later) {
                        Fate::Replied => outbox.commit(*peer),
                        Fate::Waits(query) => waiting.push((query, *peer)),
                        Fate::Signs { is_made_up } => {
                            let query = Unsigned {
                                packet: packet.bytes().into(),
                                peer: *peer,
                                began: now.instant,
                                sampled: samples.as_mut().and_then(|all| all.take(peer)),
                            };
                            let Err(query) = self.sign(query, is_made_up) else {
                                continue;
                            };
                            if self.handler.take_unsigned(packet, &now, reply, &mut tally) {
                                if let Some(sampled) = query.sampled {
                                    sampled.replied(reply.as_bytes());
                                }
                                outbox.commit(*peer);
                            }
                        }
                        Fate::Dropped => {}
                    }
                }
            }
            let has_waited = !waiting.is_empty();
            if has_waited {
                let links = waiting.iter_mut().map(|(one, _)| one.unanswered());
                self.handler.look_up(links);
                for (one, peer) in waiting.drain(..) {
                    let sampled = samples.as_mut().and_then(|samples| samples.take(&peer));
                    wait(&self.handler, &self.replies, one, peer, sampled);
                }
            }
            if let Some(samples) = samples {
                samples.end(&outbox);
            }
            let replies = outbox.len();
            let gives_way = has_waited && replies == 0 && inbox.len() <= FEW;
            let unsent = outbox.send(&self.socket);
            self.dropped(DropReason::Unsendable, unsent);
            tally.tell(self.handler.metrics());
            tally.pass(now.instant);
            if let Some(sent @ 1..) = replies.checked_sub(unsent) {
                // The queries of a batch are read together and their replies sent together, so all have the same
                // time.
                times.add(sent as u32, now.instant.elapsed());
                if times.is_full() {
                    times.tell(self.times());
                }
            }
            if gives_way {
                thread::yield_now();
            }
        }
        times.tell(self.times());
        Ok(())
    }

    /// The histogram of the times of replies by UDP.
    fn times(&self) -> &Times {
        self.handler.metrics().dns_response_times.of(Transport::Udp)
    }

    /// The next group of packets, whose answers are being fetched into the cache; none if there are no more.
    fn group<'p>(
        &self,
        packets: &mut impl Iterator<Item = (&'p [u8], Peer)>,
        tally: &Tally,
    ) -> Option<[Option<(Packet<'p>, Peer)>; GROUP]> {
        let mut group = [const { None }; GROUP];
        for (place, (bytes, peer)) in group.iter_mut().zip(packets) {
            *place = Some((self.handler.read(bytes, peer.address, Via::Udp), peer));
        }
        group.first()?.as_ref()?;
        let queries = group.iter().flatten();
        let queries = queries.filter_map(|(packet, _)| packet.query());
        self.handler.fetch(queries, tally);
        Some(group)
    }

    /// Hands a query to the signer; returns it if the queue is full.
    fn sign(&self, query: Unsigned, is_made_up: bool) -> Result<(), Unsigned> {
        match &self.signer {
            Some(signer) => signer.put(query, is_made_up),
            None => Err(query),
        }
    }

    fn dropped(&self, reason: DropReason, packets: usize) {
        if packets > 0 {
            self.handler.count_drops(reason, packets);
        }
    }
}

/// Spawns a task that waits for the link and replies.
fn wait(
    handler: &Handler,
    replies: &mpsc::Sender<Later>,
    waiting: Waiting,
    peer: Peer,
    sampled: Option<Sampled>,
) {
    let Some(permit) = handler.permit() else {
        return handler.count_drops(DropReason::Overload, 1);
    };
    let (replies, handler) = (replies.clone(), handler.clone());
    let began = waiting.began();
    tokio::spawn(async move {
        let resolved = waiting.resolve(&handler).await;
        if let Some(reply) = reply(&handler, resolved) {
            if let Some(sampled) = sampled {
                sampled.replied(&reply);
            }
            if replies.try_send(Later { reply, peer, began }).is_err() {
                handler.count_drops(DropReason::Unsendable, 1);
            }
        }
        drop(permit);
    });
}

/// The reply to a query whose link has been looked up, in a buffer of its size.
fn reply(handler: &Handler, resolved: Resolved) -> Option<Box<[u8]>> {
    Buffers::with(handler.udp_payload(), |buffers| {
        let scratch = Scratch {
            reply: &mut buffers.reply,
            encoding: &mut buffers.encoding,
        };
        let is_made = resolved.reply(handler, scratch);
        is_made.then(|| buffers.reply.as_bytes().into())
    })
}

/// What the tasks of a thread use, one after the other: to make a reply, and to send several.
struct Buffers {
    /// For replies of at most so many bytes.
    limit: usize,
    reply: ReplyBuffer,
    encoding: Vec<u8>,
    outbox: Outbox,
}

impl Buffers {
    /// Lends the buffers of this thread, for replies of at most `limit` bytes. `work` must not ask for them again.
    fn with<R>(limit: usize, work: impl FnOnce(&mut Self) -> R) -> R {
        thread_local! {
            static BUFFERS: RefCell<Option<Buffers>> = const { RefCell::new(None) };
        }
        BUFFERS.with_borrow_mut(|buffers| {
            let buffers = match buffers {
                Some(buffers) if buffers.limit == limit => buffers,
                _ => buffers.insert(Self {
                    limit,
                    reply: ReplyBuffer::new(limit),
                    encoding: Vec::with_capacity(ENCODING),
                    outbox: Outbox::new(BATCH, limit),
                }),
            };
            work(buffers)
        })
    }
}

/// The sender of one socket. It sends all replies that are ready together.
async fn send_all(mut waiting: mpsc::Receiver<Later>, socket: Arc<UdpSocket>, handler: Handler) {
    let mut replies = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut replies, BATCH).await > 0 {
        // The runtime wakes the sender for the first reply, while other tasks are about to finish theirs: many
        // queries may wait for the same link, or for the same reply of Redis.
        tokio::task::yield_now().await;
        while replies.len() < BATCH
            && let Ok(reply) = waiting.try_recv()
        {
            replies.push(reply);
        }
        let unsent = Buffers::with(handler.udp_payload(), |Buffers { outbox, .. }| {
            for Later { reply, peer, .. } in &replies {
                let Some(buffer) = outbox.next() else { break };
                buffer.set(reply);
                outbox.commit(*peer);
            }
            outbox.send(&socket)
        });
        count_times(&handler, replies.drain(..).map(|later| later.began));
        if unsent > 0 {
            handler.count_drops(DropReason::Unsendable, unsent);
        }
    }
}

/// Adds the times of replies that have just been sent; `begun` says when their queries were read.
fn count_times(handler: &Handler, begun: impl Iterator<Item = Instant>) {
    let now = Instant::now();
    let times = handler.metrics().dns_response_times.of(Transport::Udp);
    for began in begun {
        times.add(1, now.saturating_duration_since(began));
    }
}

/// Whether the error only means that no packet has come.
fn is_idle(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
