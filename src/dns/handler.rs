//! From a request to a reply: the adapter between hickory's `Server` and [`answer`].
//!
//! hickory decodes the request and encodes the reply; what lies between is ours. `Catalog` with a
//! `ZoneHandler` is not used, because it turns a failing backend into NODATA, ignores the query's
//! class, and obeys any UDP size that the client names.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{
    Edns, Header, HeaderCounts, LowerQuery, MessageType, Metadata, OpCode, ResponseCode,
};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, BinEncoder};
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder, Queries};
use tokio::sync::Semaphore;

use super::answer::{Answer, ExtendedError, Known, Question, Step, answer};
use super::edns;
use crate::links::{Links, Resolution};
use crate::metrics::{DnsDrop, DnsResponse, DropReason, Metrics, Transport};
use crate::store::StoreError;
use crate::zone::ZoneSet;

/// How many requests may be in work at once; what comes beyond is dropped, and resolvers ask again.
/// A request in work holds some 10 KiB.
const MAX_IN_FLIGHT: u32 = 16_384;

/// The largest message by TCP, in bytes (RFC 1035 §4.2.2).
const MAX_TCP_PAYLOAD: u16 = u16::MAX;

/// Answers requests from the zones and their links.
#[derive(Clone, Debug)]
pub struct Handler(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    zones: Arc<ZoneSet>,
    links: Arc<Links>,
    metrics: Arc<Metrics>,
    in_flight: Semaphore,
}

/// A reply before it is encoded.
struct Reply {
    metadata: Metadata,
    answer: Answer,
    edns: Option<Edns>,
    /// An empty question section, where that of the request is not repeated: it may be larger than
    /// a reply.
    no_question: Option<Queries>,
}

impl Handler {
    /// A handler for these zones and links.
    pub fn new(zones: Arc<ZoneSet>, links: Arc<Links>, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            zones,
            links,
            metrics,
            in_flight: Semaphore::new(MAX_IN_FLIGHT as usize),
        }))
    }

    /// Takes no more requests, and waits until those in work are answered, but no longer than
    /// `patience`. Returns whether all were.
    pub async fn drain(&self, patience: Duration) -> bool {
        // The semaphore is fair: once all permits are asked for, no request gets one any more.
        let all = self.0.in_flight.acquire_many(MAX_IN_FLIGHT);
        match tokio::time::timeout(patience, all).await {
            Ok(Ok(permits)) => {
                permits.forget();
                true
            }
            Ok(Err(_)) | Err(_) => {
                self.0.in_flight.close();
                false
            }
        }
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        response_handle: R,
    ) -> ResponseInfo {
        let shared = &*self.0;
        let Ok(_permit) = shared.in_flight.try_acquire() else {
            return shared.dropped(&request.metadata, DropReason::Overload);
        };
        let reply = shared.reply(request).await;
        shared.send(request, reply, response_handle).await
    }
}

impl Shared {
    /// Decides the reply to a request.
    async fn reply(&self, request: &Request) -> Reply {
        let mut reply = match check(request) {
            Err(answer) => Reply::new(request, answer),
            Ok(query) => Reply::new(request, self.answer(query).await),
        };
        if let (Some(edns), Some(error)) = (&mut reply.edns, reply.answer.error) {
            edns::push_extended_error(edns, error);
        }
        reply
    }

    /// Answers a query that is well-formed and of class IN.
    async fn answer(&self, query: &LowerQuery) -> Answer {
        // Held to the end: a reload in between does not change what this query sees.
        let zones = self.zones.current();
        let Some(zone) = zones.find(query.name(), query.query_type()) else {
            let error = ExtendedError {
                code: ExtendedError::NOT_AUTHORITATIVE,
                text: "",
            };
            return Answer::empty(ResponseCode::Refused, Some(error));
        };
        let original: &Name = query.original().name();
        let question = Question {
            name: original,
            key: query.name(),
            qtype: query.query_type(),
        };
        let name = match answer(zone, question, None, self.links.now()) {
            Step::Ready(answer) => return answer,
            Step::NeedsLink(name) => name,
        };
        let known = match self.links.resolve(&name).await {
            Ok(Resolution::Live(link)) => Known::Live(link),
            Ok(Resolution::Expired(_) | Resolution::Absent) => Known::Absent,
            Err(error) => {
                self.metrics.link_failures.inc();
                Known::Unknown(explain(&error))
            }
        };
        match answer(zone, question, Some(&known), self.links.now()) {
            Step::Ready(answer) => answer,
            // A chain of aliases ends before a second link.
            Step::NeedsLink(_) => Answer::empty(ResponseCode::ServFail, None),
        }
    }

    /// Encodes and sends a reply, cut down to what the client takes.
    async fn send<R: ResponseHandler>(
        &self,
        request: &Request,
        mut reply: Reply,
        mut response_handle: R,
    ) -> ResponseInfo {
        let transport = match request.protocol() {
            Protocol::Udp => Transport::Udp,
            _ => Transport::Tcp,
        };
        if reply.fit(request, transport) == Fit::Truncated {
            self.metrics.dns_truncated.inc();
        }
        match response_handle.send_response(reply.message(request)).await {
            Ok(info) => {
                let rcode = u16::from(info.response_code);
                let sent = DnsResponse { transport, rcode };
                self.metrics.dns_responses.get_or_create(&sent).inc();
                info
            }
            Err(error) => {
                tracing::debug!(peer = %request.src(), %error, "reply cannot be sent");
                self.dropped(&request.metadata, DropReason::Unsendable)
            }
        }
    }

    fn dropped(&self, request: &Metadata, reason: DropReason) -> ResponseInfo {
        let dropped = DnsDrop { reason };
        self.metrics.dns_dropped.get_or_create(&dropped).inc();
        ResponseInfo::from(Header {
            metadata: Metadata::response_from_request(request),
            counts: HeaderCounts::default(),
        })
    }
}

/// Whether a reply went out whole.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    Whole,
    Truncated,
}

impl Reply {
    fn new(request: &Request, answer: Answer) -> Self {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.message_type = MessageType::Response;
        metadata.response_code = answer.rcode;
        metadata.authoritative = answer.authoritative;
        // RFC 4035 §3.1.6: an authoritative server clears CD.
        metadata.checking_disabled = false;
        Self {
            metadata,
            answer,
            edns: request.edns.as_ref().map(edns::reply),
            no_question: match question(request) {
                Some(_) => None,
                None => Queries::read(&mut BinDecoder::new(&[]), 0).ok(),
            },
        }
    }

    /// Cuts a reply that has more bytes than the transport or the client takes. hickory's own
    /// truncation would lose the OPT record and leave stray bytes, so it must never come to that.
    fn fit(&mut self, request: &Request, transport: Transport) -> Fit {
        let (limit, room) = match transport {
            Transport::Udp => (
                edns::udp_limit(request.edns.as_ref()),
                edns::udp_limit(self.edns.as_ref()),
            ),
            Transport::Tcp => (MAX_TCP_PAYLOAD, MAX_TCP_PAYLOAD),
        };
        if self.wire_len(request, room) <= limit.into() {
            return Fit::Whole;
        }
        // RFC 2181 §9: TC is not for additional records that are merely useful.
        if !self.answer.glue_required && !self.answer.additionals.is_empty() {
            self.answer.additionals.clear();
            if self.wire_len(request, room) <= limit.into() {
                return Fit::Whole;
            }
        }
        self.answer.answers.clear();
        self.answer.authorities.clear();
        self.answer.additionals.clear();
        self.metadata.truncation = true;
        Fit::Truncated
    }

    /// The length of the encoded reply, in bytes; more than any limit if hickory, with `room` for
    /// it, would truncate it. That comes earlier than the length alone tells: a name needs room for
    /// all its labels before it is compressed.
    fn wire_len(&self, request: &Request, room: u16) -> usize {
        let mut wire = Vec::with_capacity(512);
        let mut encoder = BinEncoder::new(&mut wire);
        encoder.set_max_size(room);
        match self.message(request).destructive_emit(&mut encoder) {
            Ok(info) if info.truncation == self.metadata.truncation => wire.len(),
            Ok(_) | Err(_) => usize::MAX,
        }
    }

    fn message<'a>(
        &'a self,
        request: &'a Request,
    ) -> MessageResponse<
        'a,
        'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
    > {
        let queries = self.no_question.as_ref().unwrap_or(&request.queries);
        MessageResponseBuilder::new(queries, self.edns.as_ref()).build(
            self.metadata,
            &self.answer.answers,
            &self.answer.authorities,
            &[],
            &self.answer.additionals,
        )
    }
}

/// The one question of a request, if its name is written in full. A pointer in it could lead only
/// into the header, and a reply that repeats it has another header there.
fn question(request: &Request) -> Option<&LowerQuery> {
    let [query] = request.queries.queries() else {
        return None;
    };
    let labels = query.original().name().iter();
    let name_len = labels.map(|label| 1 + label.len()).sum::<usize>() + 1;
    // Type and class follow the name.
    (request.queries.as_bytes().len() == name_len + 4).then_some(query)
}

/// Checks what a request must be before it is looked up.
fn check(request: &Request) -> Result<&LowerQuery, Answer> {
    let refuse = |rcode, code, text| Answer::empty(rcode, Some(ExtendedError { code, text }));
    // RFC 6895 §2.2 and RFC 1035 §4.1.1: other opcodes are not implemented, and say so with the
    // opcode they came with.
    if request.metadata.op_code != OpCode::Query {
        return Err(Answer::empty(ResponseCode::NotImp, None));
    }
    // RFC 6891 §6.1.3: a version we do not know; the reply tells ours.
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(Answer::empty(ResponseCode::BADVERS, None));
    }
    // RFC 9619 §4: a query asks one question.
    let Some(query) = question(request) else {
        return Err(Answer::empty(ResponseCode::FormErr, None));
    };
    if query.query_class() != DNSClass::IN {
        let code = ExtendedError::NOT_AUTHORITATIVE;
        return Err(refuse(
            ResponseCode::Refused,
            code,
            "only class IN is served",
        ));
    }
    match query.query_type() {
        // RFC 1035 §4.1.1: what is not done for reasons of policy, "e.g., zone transfer", is refused.
        RecordType::AXFR | RecordType::IXFR => {
            let code = ExtendedError::PROHIBITED;
            Err(refuse(
                ResponseCode::Refused,
                code,
                "zone transfer is not offered",
            ))
        }
        // RFC 6891 §6.1.1: OPT is no type that one can ask for.
        RecordType::OPT => Err(Answer::empty(ResponseCode::FormErr, None)),
        _ => Ok(query),
    }
}

/// Tells the operator of a resolver why there is no answer (RFC 8914).
fn explain(error: &StoreError) -> ExtendedError {
    let (code, text) = match error {
        StoreError::Unavailable(_) => (ExtendedError::NETWORK_ERROR, "link store unavailable"),
        StoreError::DeadlineExceeded => (ExtendedError::NETWORK_ERROR, "link store too slow"),
        StoreError::Overloaded => (
            ExtendedError::NOT_READY,
            "too many queries wait for the link store",
        ),
        StoreError::Corrupt { .. } => (ExtendedError::NOT_READY, "stored link is damaged"),
    };
    ExtendedError { code, text }
}
