//! The data of a record: from tokens to wire form, and from there to hickory's `RData`.
//!
//! ```text
//!   tokens ─┬─ forms: the fields of a type ── fields, and a module for each odd kind ─┬─ wire
//!           └─ scan: by `domain`, what is not there; `\#` of any type ────────────────┘
//! ```
//!
//! NLnet Labs' `domain` knows the text form of the common types. What it does not read is read here,
//! field by field. Hickory's own parser was turned down: it drops records silently and knows no URI,
//! DNAME or RFC 3597 data.

mod addresses;
mod digests;
mod fields;
mod forms;
mod location;
mod old;
mod prefixes;
mod scan;
mod service;

use bytes::Bytes;
use domain::base::ParsedName;
use domain::base::iana::Rtype;
use domain::base::rdata::{ComposeRecordData, ParseRecordData};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{
    BinDecoder, BinEncodable, BinEncoder, NameEncoding, Restrict,
};

use self::fields::{Fields, Wire};
use super::super::diagnostic::Problem;
use super::lexer::{Position, Token};

/// The most rdata of a record, in bytes: RDLENGTH has 16 bits (RFC 1035 §3.2.1).
const MAX_RDATA_LEN: usize = 65_535;
/// The marker of RFC 3597 §5.
const UNKNOWN_MARKER: &[u8] = b"\\#";

/// Something wrong in the data of a record, and where it stands if not at its last token.
pub(super) type RdataError = (Option<Position>, Problem);

/// Reads the data of a record of type `rtype`; relative names are completed with `origin`.
pub(super) fn read(rtype: Rtype, tokens: &[Token], origin: &[u8]) -> Result<RData, RdataError> {
    let generic = tokens
        .first()
        .is_some_and(|first| first.raw == UNKNOWN_MARKER);
    let wire = match forms::of(rtype) {
        Some(fields) if !generic => Fields::new(rtype, tokens, origin).read(fields)?,
        _ => scan::scan(rtype, tokens, generic, origin)?,
    };
    if wire.len() > MAX_RDATA_LEN {
        return Err((None, Problem::LongRdata(wire.len())));
    }
    if generic && !is_data_of(rtype, &wire) {
        let why = "the bytes are not data of this type";
        return Err((None, rdata_problem(rtype, why)));
    }
    Ok(to_hickory(rtype, wire))
}

fn rdata_problem(rtype: Rtype, why: &str) -> Problem {
    Problem::Rdata {
        rtype: to_record_type(rtype),
        why: why.into(),
    }
}

/// RFC 3597 §5: data in generic form of a type that is known must be data of that type; and §4:
/// no name in it may be compressed, since there is no message to point into.
fn is_data_of(rtype: Rtype, wire: &[u8]) -> bool {
    if let Some(fields) = forms::of(rtype) {
        return Wire(wire).holds(fields);
    }
    let octets = Bytes::copy_from_slice(wire);
    let mut parser = Parser::from_ref(&octets);
    let parsed = ZoneRecordData::<Bytes, ParsedName<Bytes>>::parse_rdata(rtype, &mut parser);
    let Ok(Some(parsed)) = parsed else {
        return false;
    };
    let mut composed = Vec::new();
    // Writing to a Vec cannot fail.
    let Ok(()) = parsed.compose_rdata(&mut composed);
    parser.remaining() == 0 && composed == wire
}

/// The type as hickory knows it.
pub(super) fn to_record_type(rtype: Rtype) -> RecordType {
    RecordType::from(rtype.to_int())
}

/// Hands the data over to hickory; what it does not know, or would send with other bytes than the
/// file gave, is kept as the bytes that it is.
fn to_hickory(rtype: Rtype, wire: Vec<u8>) -> RData {
    let code = to_record_type(rtype);
    let mut decoder = BinDecoder::new(&wire);
    // The length is within 16 bits by now.
    match RData::read(&mut decoder, code, Restrict::new(wire.len() as u16)) {
        Ok(rdata) if rdata.record_type() == code && encode(&rdata).as_ref() == Some(&wire) => rdata,
        _ => RData::Unknown {
            code,
            rdata: NULL::with(wire),
        },
    }
}

/// The bytes that hickory would send.
fn encode(rdata: &RData) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    let mut encoder = BinEncoder::new(&mut wire);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    rdata.emit(&mut encoder).ok()?;
    Some(wire)
}
