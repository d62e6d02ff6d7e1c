//! UDP: one thread and one socket a core, many packets a system call.
//!
//! ```text
//!   socket ── receive up to BATCH ── decode ─┬─ reply at once ─────────── send all of them ── socket
//!   (SO_REUSEPORT)                           ├─ waits for a link ── task ── sender: gathers ──┤
//!                                            └─ to be signed ── queue ── signer: sends all ───┘
//! ```
//!
//! hickory's own loop spawns a task and makes some thirty allocations a packet, and sends each reply by
//! a call of its own. Here a reply that needs no waiting, which is nearly every one, is made on the
//! thread that has received the query, and goes out together with the others of its batch. What has to
//! wait for a link is a task, of which there is a bound; so a store that hangs does not slow what is in
//! memory. Those replies go out together with others that are ready by then.
//!
//! The kernel divides clients among the sockets by their addresses. A port is guarded by its TCP
//! listener, which no other process can bind: SO_REUSEPORT alone would let a second server of the same
//! user take a share of the queries.

mod batch;
mod samples;
mod signing_thread;

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
use crate::dns::pipeline::packet::{ENCODING, Fate, Packet, Waiting};
use crate::dns::pipeline::pending::Signatures;
use crate::dns::pipeline::respond::Scratch;
use crate::dns::pipeline::tally::Tally;
use crate::dns::pipeline::via::Via;
use crate::dns::query_log::Sampled;
use crate::dns::watchdog::Mark;
use crate::dns::wire::reply::ReplyBuffer;

/// How many packets are taken by one system call.
const BATCH: usize = 64;
/// How many packets are read before the first of them is replied to, so that what their answers need is
/// fetched from memory for all at once.
const GROUP: usize = 16;
/// How often a worker without queries looks whether it is to stop.
const STOP_LOOK: Duration = Duration::from_millis(100);
/// How much the system is asked to hold for a socket, in bytes: some thousand queries, for the time in
/// which a worker is not scheduled. It gives what `net.core.rmem_max` allows.
const RECEIVE_BUFFER: usize = 2 << 20;
/// How many replies of tasks may wait to be sent; as many as there can be tasks would be no bound worth
/// the name, for sending does not wait.
const SENDER_QUEUE: usize = 4_096;
/// How many errors in a row end a worker: each is waited for a little.
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
    /// Starts a thread for each of these sockets. To be called within a runtime, which the requests
    /// that wait are tasks of.
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

    /// Takes no more queries, and waits until the threads have ended. Returns what sends the replies to queries
    /// that have waited; each ends when it has sent the last.
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

/// Starts a thread whose failure is told.
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

/// Tells that a worker has failed, also by a panic: its share of the clients would get no answers.
struct Alarm(mpsc::Sender<String>);

impl Alarm {
    fn tell(&self, failure: String) {
        // One failure is enough; whoever comes second need not be heard.
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

/// Gets a socket ready for a worker.
fn prepare(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(STOP_LOOK))?;
    let reference = SockRef::from(socket);
    // The system tells twice what it was asked for, to count its own needs in. A service manager may
    // have got more than it would give us.
    if reference
        .recv_buffer_size()
        .is_ok_and(|size| size >= 2 * RECEIVE_BUFFER)
    {
        return Ok(());
    }
    // The default does as well, only for fewer packets.
    if let Err(error) = reference.set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::debug!(%error, "the receive buffer stays as it is");
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
    /// To what signs, if a zone is signed.
    signer: Option<Queue>,
}

/// A reply of a task.
struct Later {
    reply: ReplyBuffer,
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
        // Ends when the worker and all its tasks have.
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

    /// Has something sign for it.
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

    /// Serves until it is told to stop.
    fn run(self) -> io::Result<()> {
        let _entered = self.runtime.enter();
        let tells_local = tell_local(&self.socket).unwrap_or_else(|error| {
            tracing::warn!(%error, "replies may leave from another address than was asked");
            false
        });
        let mut inbox = Inbox::new(BATCH, tells_local);
        let mut outbox = Outbox::new(BATCH, self.handler.udp_payload());
        let mut encoding = Vec::with_capacity(ENCODING);
        let mut waiting = Vec::with_capacity(BATCH);
        let mut tally = Tally::default();
        let mut times = LocalTimes::default();
        let local = self.socket.local_addr()?;
        let mut errors = 0;
        while !self.stop.load(Ordering::Acquire) {
            self.mark.leave();
            match inbox.receive(&self.socket) {
                Ok(()) => errors = 0,
                Err(error) if is_idle(&error) => {
                    times.tell(self.times());
                    continue;
                }
                // An ICMP message about an earlier reply, or memory that is short for a moment.
                Err(error) => {
                    errors += 1;
                    if errors == MAX_ERRORS {
                        return Err(error);
                    }
                    tracing::debug!(%error, "receiving by UDP");
                    thread::sleep(ERROR_PAUSE);
                    continue;
                }
            }
            let mut samples = Samples::of(self.handler.query_log(), &inbox, local);
            let now = self.handler.time();
            let mut packets = inbox.packets();
            while let Some(group) = self.group(&mut packets) {
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
            if !waiting.is_empty() {
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
            let unsent = outbox.send(&self.socket);
            self.dropped(DropReason::Unsendable, unsent);
            tally.tell(self.handler.metrics());
            if let Some(sent @ 1..) = replies.checked_sub(unsent) {
                // Replies of a batch are read together and sent together, so this is the time of each.
                times.add(sent as u32, now.instant.elapsed());
                if times.is_full() {
                    times.tell(self.times());
                }
            }
        }
        times.tell(self.times());
        Ok(())
    }

    /// How long replies by UDP took.
    fn times(&self) -> &Times {
        self.handler.metrics().dns_response_times.of(Transport::Udp)
    }

    /// The next packets, with what they need being fetched; none if there are no more.
    fn group<'p>(
        &self,
        packets: &mut impl Iterator<Item = (&'p [u8], Peer)>,
    ) -> Option<[Option<(Packet<'p>, Peer)>; GROUP]> {
        let mut group = [const { None }; GROUP];
        for (place, (bytes, peer)) in group.iter_mut().zip(packets) {
            *place = Some((self.handler.read(bytes, peer.address, Via::Udp), peer));
        }
        group.first()?.as_ref()?;
        let queries = group.iter().flatten();
        let queries = queries.filter_map(|(packet, _)| packet.query());
        self.handler.fetch(queries);
        Some(group)
    }

    /// Has a query signed; gives it back if there are too many.
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

/// Has a task wait for the link and reply.
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
        let mut reply = ReplyBuffer::new(handler.udp_payload());
        let mut encoding = Vec::new();
        let scratch = Scratch {
            reply: &mut reply,
            encoding: &mut encoding,
        };
        let is_made = waiting.end(&handler, scratch).await;
        if is_made && let Some(sampled) = sampled {
            sampled.replied(reply.as_bytes());
        }
        if is_made && replies.try_send(Later { reply, peer, began }).is_err() {
            handler.count_drops(DropReason::Unsendable, 1);
        }
        drop(permit);
    });
}

/// The sender of one socket: whatever replies are ready go out together.
async fn send_all(mut waiting: mpsc::Receiver<Later>, socket: Arc<UdpSocket>, handler: Handler) {
    let mut replies = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut replies, BATCH).await > 0 {
        // The runtime wakes the sender for the first reply, before the tasks that are about to have
        // others: a link that many wait for, or an answer of Redis about many, makes a crowd of them.
        tokio::task::yield_now().await;
        while replies.len() < BATCH
            && let Ok(reply) = waiting.try_recv()
        {
            replies.push(reply);
        }
        let begun: Vec<Instant> = replies.iter().map(|later| later.began).collect();
        let ready = replies.drain(..).map(|later| (later.reply, later.peer));
        let unsent = Outbox::of(ready).send(&socket);
        count_times(&handler, &begun);
        if unsent > 0 {
            handler.count_drops(DropReason::Unsendable, unsent);
        }
    }
}

/// Counts how long replies took that have just been sent, of queries that were read at these times.
fn count_times(handler: &Handler, begun: &[Instant]) {
    let now = Instant::now();
    let times = handler.metrics().dns_response_times.of(Transport::Udp);
    for began in begun {
        times.add(1, now.saturating_duration_since(*began));
    }
}

/// Whether nothing has come for a while.
fn is_idle(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
