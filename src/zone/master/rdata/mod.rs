//! The data of a record: from tokens to wire form, and from there to hickory's `RData`.
//!
//! ```text
//!   tokens ─┬─ forms: the fields of a type ── fields, and a module for each odd kind ─┬─ wire
//!           └─ scan: all other types, by `domain`; `\#` of any type ─────────────────┘
//! ```
//!
//! NLnet Labs' `domain` reads the text form of the common types. The types that it does not read are read here,
//! field by field. Hickory's own parser is not used: it drops some records without an error, and does not read
//! URI, DNAME and RFC 3597 data.

mod addresses;
mod digests;
mod fields;
mod forms;
mod location;
mod old;
mod prefixes;
mod scan;
mod service;

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
use super::super::diagnostic::Defect;
use super::lexer::{Position, Token};

/// The most rdata of a record, in bytes: RDLENGTH has 16 bits (RFC 1035 §3.2.1).
const MAX_RDATA_LEN: usize = 65_535;
/// The marker of RFC 3597 §5.
const UNKNOWN_MARKER: &[u8] = b"\\#";
/// The message for a field behind the last one.
const MORE_FIELDS: &str = "unexpected field behind the end of the data";

/// A defect in the data of a record, with its place; without a place, it is at the last token.
pub(super) type RdataError = (Option<Position>, Defect);

/// Reads the data of a record of type `rtype`; relative names are completed with `origin`.
pub(super) fn read(rtype: Rtype, tokens: &[Token], origin: &[u8]) -> Result<RData, RdataError> {
    let generic = tokens
        .first()
        .is_some_and(|first| first.raw == UNKNOWN_MARKER);
    let wire = match forms::of(rtype) {
        Some(fields) if !generic => Fields::new(rtype, tokens, origin).read(fields)?,
        _ => scan::scan(rtype, tokens, origin)?,
    };
    if wire.len() > MAX_RDATA_LEN {
        return Err((None, Defect::LongRdata(wire.len())));
    }
    if generic && !is_data_of(rtype, &wire) {
        let why = "the bytes are not data of this type";
        return Err((None, rdata_defect(rtype, why)));
    }
    Ok(to_hickory(rtype, wire))
}

fn rdata_defect(rtype: Rtype, why: &str) -> Defect {
    Defect::Rdata {
        rtype: to_record_type(rtype),
        why: why.into(),
    }
}

/// Whether bytes in generic form are data of their type, which a known type requires (RFC 3597 §5). No name in
/// them may be compressed (§4): there is no message to point into.
fn is_data_of(rtype: Rtype, wire: &[u8]) -> bool {
    if let Some(fields) = forms::of(rtype) {
        return Wire(wire).holds(fields);
    }
    let mut parser = Parser::from_ref(wire);
    let parsed = ZoneRecordData::<&[u8], ParsedName<&[u8]>>::parse_rdata(rtype, &mut parser);
    let Ok(Some(parsed)) = parsed else {
        return false;
    };
    let mut composed = Vec::new();
    // Writing to a Vec cannot fail.
    let Ok(()) = parsed.compose_rdata(&mut composed);
    parser.remaining() == 0 && composed == wire
}

/// Hickory's value for the type.
pub(super) fn to_record_type(rtype: Rtype) -> RecordType {
    RecordType::from(rtype.to_int())
}

/// Turns the data into hickory's `RData`. Data that hickory does not know, or would send with other bytes than
/// the file gave, stays a sequence of bytes.
fn to_hickory(rtype: Rtype, wire: Vec<u8>) -> RData {
    let code = to_record_type(rtype);
    let mut decoder = BinDecoder::new(&wire);
    // `read` has checked that the length fits 16 bits.
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
