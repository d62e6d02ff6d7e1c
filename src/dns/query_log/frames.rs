//! Frame Streams, the container format of dnstap: data frames, each with its length, between control frames.
//!
//! ```text
//!   data frame      length, 4 bytes, not 0 │ data
//!   control frame   0, 4 bytes │ length, 4 bytes │ type, 4 bytes │ fields
//!   field           kind, 4 bytes │ length, 4 bytes │ value
//! ```
//!
//! All numbers are big-endian. A stream in a file is START, data, STOP. Over a socket, the sender first sends READY
//! and the receiver replies ACCEPT; after STOP the receiver sends FINISH.

use std::io::{self, Read};

/// The content type of dnstap.
const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";
/// The only kind of field: a content type.
const FIELD_CONTENT_TYPE: u32 = 1;
/// The longest control frame that readers accept, without the two numbers before it, in bytes.
const MAX_CONTROL: usize = 512;
/// The longest data frame that readers accept, in bytes.
pub(super) const MAX_DATA: usize = 1 << 20;
/// The length of a number, in bytes.
pub(super) const NUMBER: usize = 4;

/// The types of control frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Accept = 1,
    Start = 2,
    Stop = 3,
    Ready = 4,
    Finish = 5,
}

impl Control {
    /// The whole frame, with a content type in the kinds of frames that have one.
    pub(super) fn frame(self) -> Vec<u8> {
        let mut body = (self as u32).to_be_bytes().to_vec();
        if matches!(self, Self::Accept | Self::Start | Self::Ready) {
            body.extend(FIELD_CONTENT_TYPE.to_be_bytes());
            body.extend(number(CONTENT_TYPE.len()));
            body.extend(CONTENT_TYPE);
        }
        [&number(0), &number(body.len()), &body[..]].concat()
    }
}

/// Begins a data frame. Returns its place, for [`end_data`].
pub(super) fn begin_data(frames: &mut Vec<u8>) -> usize {
    let at = frames.len();
    frames.extend(number(0));
    at
}

/// Ends a data frame. All bytes since its beginning are its data.
pub(super) fn end_data(frames: &mut [u8], at: usize) {
    let length = frames.len() - at - NUMBER;
    frames[at..at + NUMBER].copy_from_slice(&number(length));
}

/// The length of the whole frames within the first `limit` bytes of these data frames.
pub(super) fn whole_data(frames: &[u8], limit: usize) -> usize {
    let mut whole = 0;
    while let Some(length) = frames[whole..].first_chunk() {
        let next = whole + NUMBER + u32::from_be_bytes(*length) as usize;
        if next > limit {
            break;
        }
        whole = next;
    }
    whole
}

/// Reads the next control frame, which has to be of this type.
///
/// # Errors
/// There is no control frame, or it has another type or another content type.
pub(super) fn expect_control(stream: &mut impl Read, expected: Control) -> io::Result<()> {
    let bad = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let mut head = [0; 2 * NUMBER];
    stream.read_exact(&mut head)?;
    let [e0, e1, e2, e3, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    if [e0, e1, e2, e3] != [0; NUMBER] || !(NUMBER..=MAX_CONTROL).contains(&length) {
        return bad("no control frame of Frame Streams");
    }
    let mut body = [0; MAX_CONTROL];
    let body = &mut body[..length];
    stream.read_exact(body)?;
    let (kind, fields) = body.split_at(NUMBER);
    if kind != (expected as u32).to_be_bytes() {
        return bad("another control frame than expected");
    }
    match content_types(fields) {
        Some(types) if types.is_empty() || types.contains(&CONTENT_TYPE) => Ok(()),
        Some(_) => bad("the other side does not take dnstap"),
        None => bad("a damaged control frame"),
    }
}

/// The content types in a control frame; none if the frame is damaged.
fn content_types(mut fields: &[u8]) -> Option<Vec<&[u8]>> {
    let mut types = Vec::new();
    while !fields.is_empty() {
        let (kind, rest) = fields.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if u32::from_be_bytes(*kind) == FIELD_CONTENT_TYPE {
            types.push(value);
        }
        fields = rest;
    }
    Some(types)
}

/// All lengths here fit four bytes.
fn number(length: usize) -> [u8; NUMBER] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &[u8] = b"\0\0\0\0\0\0\0\x22\0\0\0\x02\0\0\0\x01\0\0\0\x16protobuf:dnstap.Dnstap";

    #[test]
    fn control_frames() {
        assert_eq!(Control::Start.frame(), START);
        assert_eq!(Control::Stop.frame(), b"\0\0\0\0\0\0\0\x04\0\0\0\x03");
        assert_eq!(Control::Finish.frame(), b"\0\0\0\0\0\0\0\x04\0\0\0\x05");
        for (control, kind) in [(Control::Accept, 1), (Control::Ready, 4)] {
            let mut expected = START.to_vec();
            expected[11] = kind;
            assert_eq!(control.frame(), expected);
        }
    }

    /// The outcome of a frame where ACCEPT is expected.
    fn accept(frame: &[u8]) -> Result<(), String> {
        expect_control(&mut &frame[..], Control::Accept).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_accepted() {
        let none = b"\0\0\0\0\0\0\0\x04\0\0\0\x01";
        assert_eq!(
            accept(none),
            Ok(()),
            "without a content type, any is accepted"
        );
        assert_eq!(accept(&Control::Accept.frame()), Ok(()));
        let two = b"\0\0\0\0\0\0\0\x2B\0\0\0\x01\0\0\0\x01\0\0\0\x01x\0\0\0\x01\0\0\0\x16\
                    protobuf:dnstap.Dnstap";
        assert_eq!(accept(two), Ok(()), "one of several");
        let mut longest = two.to_vec();
        longest[6..8].copy_from_slice(&[2, 0]);
        longest.extend([0, 0, 0, 2, 0, 0, 1, 0xCD]);
        longest.resize(MAX_CONTROL + 8, 0);
        assert_eq!(accept(&longest), Ok(()), "an unknown field");
    }

    #[test]
    fn what_is_not_accepted() {
        let other = b"\0\0\0\0\0\0\0\x0D\0\0\0\x01\0\0\0\x01\0\0\0\x01x";
        let mut cut_field = other.to_vec();
        cut_field[19] = 2;
        for (frame, expected) in [
            (&b""[..], "failed to fill whole buffer"),
            (&other[..20], "failed to fill whole buffer"),
            (other, "the other side does not take dnstap"),
            (&cut_field, "a damaged control frame"),
            (
                &Control::Finish.frame(),
                "another control frame than expected",
            ),
            (b"\0\0\0\x04abcd", "no control frame of Frame Streams"),
            (
                b"\0\0\0\0\0\0\0\x03abc",
                "no control frame of Frame Streams",
            ),
            (&[0; 600], "no control frame of Frame Streams"),
            (
                b"\0\0\0\0\0\0\x02\x01xxxx",
                "no control frame of Frame Streams",
            ),
        ] {
            assert_eq!(accept(frame), Err(expected.into()), "{frame:?}");
        }
    }

    #[test]
    fn whole_frames_are_told_from_pieces() {
        let mut frames = Vec::new();
        for data in [&b"abc"[..], b"d"] {
            let at = begin_data(&mut frames);
            frames.extend(data);
            end_data(&mut frames, at);
        }
        assert_eq!(frames, b"\0\0\0\x03abc\0\0\0\x01d");
        for (limit, whole) in [(0, 0), (6, 0), (7, 7), (11, 7), (12, 12), (99, 12)] {
            assert_eq!(whole_data(&frames, limit.min(12)), whole, "{limit}");
        }
        assert_eq!(whole_data(&[], 0), 0);
    }
}
