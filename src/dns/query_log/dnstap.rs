//! dnstap: queries and replies as protobuf messages (dnstap.info, `dnstap.proto`).
//!
//! This module writes protobuf's wire format itself: it needs only three kinds of fields, and reads none. `prost`
//! would add three crates, one of them a derive macro, and need as many lines to define the fields.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use super::{Messages, Record, frames};
use crate::base::metrics::Transport;

/// How many bytes of a client's address remain when addresses are cut: the lengths that resolvers use for client
/// subnets (RFC 7871 §11.1).
const PREFIX_V4: usize = 3;
const PREFIX_V6: usize = 7;
/// UPDATE (RFC 2136 §1.3), whose messages have types of their own.
const OPCODE_UPDATE: u8 = 5;

/// The fields of `Dnstap`.
mod envelope {
    pub(super) const IDENTITY: u32 = 1;
    pub(super) const VERSION: u32 = 2;
    pub(super) const MESSAGE: u32 = 14;
    pub(super) const TYPE: u32 = 15;
    /// The value of `TYPE`.
    pub(super) const TYPE_MESSAGE: u64 = 1;
}

/// The fields of `Message`.
mod field {
    pub(super) const TYPE: u32 = 1;
    pub(super) const SOCKET_FAMILY: u32 = 2;
    pub(super) const SOCKET_PROTOCOL: u32 = 3;
    pub(super) const QUERY_ADDRESS: u32 = 4;
    pub(super) const RESPONSE_ADDRESS: u32 = 5;
    pub(super) const QUERY_PORT: u32 = 6;
    pub(super) const RESPONSE_PORT: u32 = 7;
    pub(super) const QUERY_TIME_SEC: u32 = 8;
    pub(super) const QUERY_TIME_NSEC: u32 = 9;
    pub(super) const QUERY_MESSAGE: u32 = 10;
    pub(super) const RESPONSE_TIME_SEC: u32 = 12;
    pub(super) const RESPONSE_TIME_NSEC: u32 = 13;
    pub(super) const RESPONSE_MESSAGE: u32 = 14;
}

/// The kinds of messages, as `Message.Type` has them.
#[derive(Clone, Copy)]
enum Kind {
    AuthQuery = 1,
    AuthResponse = 2,
    UpdateQuery = 13,
    UpdateResponse = 14,
}

/// Encodes records of the log.
pub(super) struct Encoder {
    messages: Messages,
    anonymise: bool,
    /// The fields of `Dnstap` that are always the same, encoded.
    envelope: Vec<u8>,
    /// The buffer of a `Message`, whose length has to be known before it is written.
    message: Vec<u8>,
}

impl Encoder {
    /// `identity` is the name of this server; empty for none.
    pub(super) fn new(messages: Messages, anonymise: bool, identity: &str) -> Self {
        let mut envelope = Vec::new();
        if !identity.is_empty() {
            put_bytes(&mut envelope, envelope::IDENTITY, identity.as_bytes());
        }
        let version = concat!("tinyns ", env!("CARGO_PKG_VERSION"));
        put_bytes(&mut envelope, envelope::VERSION, version.as_bytes());
        put_number(&mut envelope, envelope::TYPE, envelope::TYPE_MESSAGE);
        Self {
            messages,
            anonymise,
            envelope,
            message: Vec::new(),
        }
    }

    /// Adds the data frames of a record: one for the query, and one for the reply if there is one, as far as they
    /// are wanted.
    pub(super) fn encode(&mut self, record: &Record, frames: &mut Vec<u8>) {
        let (query, reply) = record.bytes.split_at(record.query_len);
        let is_update = query
            .get(2)
            .is_some_and(|byte| byte >> 3 & 0xF == OPCODE_UPDATE);
        let (asks, replies) = match is_update {
            true => (Kind::UpdateQuery, Kind::UpdateResponse),
            false => (Kind::AuthQuery, Kind::AuthResponse),
        };
        if self.messages.queries() {
            self.begin(asks, record);
            put_bytes(&mut self.message, field::QUERY_MESSAGE, query);
            self.end(frames);
        }
        if let Some(time) = record.replied_at.filter(|_| self.messages.responses()) {
            self.begin(replies, record);
            let message = &mut self.message;
            let time = since_epoch(time);
            put_number(message, field::RESPONSE_TIME_SEC, time.as_secs());
            put_fixed(message, field::RESPONSE_TIME_NSEC, time.subsec_nanos());
            put_bytes(message, field::RESPONSE_MESSAGE, reply);
            self.end(frames);
        }
    }

    /// Begins a message with the fields that queries and replies share.
    fn begin(&mut self, kind: Kind, record: &Record) {
        let message = &mut self.message;
        message.clear();
        let (client, server) = (record.ends.client, record.ends.server);
        let client_ip = client.ip().to_canonical();
        let client_ip = match self.anonymise {
            true => prefix(client_ip),
            false => client_ip,
        };
        put_number(message, field::TYPE, kind as u64);
        let family = if client_ip.is_ipv4() { 1 } else { 2 };
        put_number(message, field::SOCKET_FAMILY, family);
        let protocol = match record.ends.transport {
            Transport::Udp => 1,
            Transport::Tcp => 2,
            // DOT, DNS over TLS.
            Transport::Tls => 3,
        };
        put_number(message, field::SOCKET_PROTOCOL, protocol);
        put_address(message, field::QUERY_ADDRESS, client_ip);
        put_number(message, field::QUERY_PORT, client.port().into());
        if let Some(server) = server {
            put_address(message, field::RESPONSE_ADDRESS, server.ip().to_canonical());
            put_number(message, field::RESPONSE_PORT, server.port().into());
        }
        let time = since_epoch(record.asked_at);
        put_number(message, field::QUERY_TIME_SEC, time.as_secs());
        put_fixed(message, field::QUERY_TIME_NSEC, time.subsec_nanos());
    }

    /// Puts the message into a frame.
    fn end(&mut self, frames: &mut Vec<u8>) {
        let at = frames::begin_data(frames);
        frames.extend(&self.envelope);
        put_bytes(frames, envelope::MESSAGE, &self.message);
        frames::end_data(frames, at);
    }
}

/// The network of an address.
fn prefix(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mut octets = address.octets();
            octets[PREFIX_V4..].fill(0);
            Ipv4Addr::from(octets).into()
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[PREFIX_V6..].fill(0);
            Ipv6Addr::from(octets).into()
        }
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    // A clock before 1970 is no reason for an error.
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// The wire types of protobuf, in the lower three bits of the number in front of a field.
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;
const FIXED_32: u32 = 5;

fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field << 3 | VARINT));
    put_varint(out, number);
}

fn put_fixed(out: &mut Vec<u8>, field: u32, number: u32) {
    put_varint(out, u64::from(field << 3 | FIXED_32));
    out.extend(number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field << 3 | LENGTH_DELIMITED));
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_address(out: &mut Vec<u8>, field: u32, address: IpAddr) {
    match address {
        IpAddr::V4(address) => put_bytes(out, field, &address.octets()),
        IpAddr::V6(address) => put_bytes(out, field, &address.octets()),
    }
}

/// Seven bits a byte, the lowest first; all bytes but the last have the eighth bit set.
fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
