//! The parts of an answer that are not in its records, and what may lie in their place.

use super::{Frame, rcode_with};
use crate::dns::answer::outcome::{Answer, ExtendedError};
use crate::dns::limits::rate_limit::Class;
use crate::routing::ListId;
use crate::zone::LinkPlace;

/// The parts of an answer that are not in its records, but are needed to complete a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The AA bit.
    pub(crate) authoritative: bool,
    /// The rcode, 0 to 15, without the bits of the OPT record.
    pub(crate) rcode: u8,
    /// How many records the answer section has.
    pub(crate) answers: u16,
    /// How many records the authority section has.
    pub(crate) authorities: u16,
    /// How many records the additional section has, without OPT.
    pub(crate) additionals: u16,
    /// The place of the answer's extended error in [`ExtendedError::KEPT`], from 1; 0 for none. Replies from a hot answer
    /// have to have it as well.
    pub(crate) error: u8,
    /// Whether the answer is signed. A signed NXDOMAIN is a compact denial (RFC 9824).
    pub(crate) is_signed: bool,
    /// See [`Answer::link`].
    pub(crate) link: Option<LinkPlace>,
}

/// What is kept in place of an answer that depends on the client: the list of pools by which the answer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signpost(pub(crate) ListId);

impl Signpost {
    /// No head of an answer has this bit.
    const BIT: u8 = 0x80;

    /// The form that is kept in place of a head.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let [l0, l1] = self.0.number().to_be_bytes();
        [Self::BIT, l0, l1, 0, 0, 0, 0, 0]
    }

    /// The inverse of [`Signpost::to_bytes`]; none for the head of an answer.
    pub(crate) fn from_bytes([bits, l0, l1, ..]: [u8; 8]) -> Option<Self> {
        let list = ListId::from_number(u16::from_be_bytes([l0, l1]));
        (bits == Self::BIT).then_some(Self(list))
    }
}

impl Head {
    const AUTHORITATIVE: u8 = 1;
    const SIGNED: u8 = 2;
    /// The bits that say which name of a link the answer is about.
    const SHORT: u8 = 4;
    const TARGET: u8 = 8;
    /// Above these bits is the place of the error, counted from 1.
    const ERROR_SHIFT: u32 = 4;

    /// The head of an answer, without counts of authority and additional records.
    pub(crate) fn of(answer: &Answer) -> Self {
        Self {
            authoritative: answer.authoritative,
            rcode: answer.rcode.low(),
            answers: u16::try_from(answer.answers.len()).unwrap_or(u16::MAX),
            authorities: 0,
            additionals: 0,
            error: answer.error.map_or(0, kept_place),
            is_signed: answer.signed,
            link: answer.link,
        }
    }

    /// The form that is kept with a hot answer.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let mut bits = self.error << Self::ERROR_SHIFT;
        for (is_set, bit) in [
            (self.authoritative, Self::AUTHORITATIVE),
            (self.is_signed, Self::SIGNED),
            (self.link == Some(LinkPlace::Short), Self::SHORT),
            (self.link == Some(LinkPlace::Target), Self::TARGET),
        ] {
            bits |= if is_set { bit } else { 0 };
        }
        let ([a0, a1], [n0, n1]) = (self.answers.to_be_bytes(), self.authorities.to_be_bytes());
        let [d0, d1] = self.additionals.to_be_bytes();
        [bits, self.rcode, a0, a1, n0, n1, d0, d1]
    }

    /// The inverse of [`Head::to_bytes`].
    pub(crate) fn from_bytes([bits, rcode, a0, a1, n0, n1, d0, d1]: [u8; 8]) -> Self {
        Self {
            authoritative: bits & Self::AUTHORITATIVE != 0,
            rcode,
            answers: u16::from_be_bytes([a0, a1]),
            authorities: u16::from_be_bytes([n0, n1]),
            additionals: u16::from_be_bytes([d0, d1]),
            error: bits >> Self::ERROR_SHIFT,
            is_signed: bits & Self::SIGNED != 0,
            link: match bits & (Self::SHORT | Self::TARGET) {
                Self::SHORT => Some(LinkPlace::Short),
                Self::TARGET => Some(LinkPlace::Target),
                _ => None,
            },
        }
    }

    /// The same head, without records.
    pub(super) fn without_records(self) -> Self {
        Self {
            answers: 0,
            authorities: 0,
            additionals: 0,
            ..self
        }
    }

    /// The lower bits of a reply's rcode.
    pub(super) fn rcode_in(self, frame: &Frame<'_>) -> u8 {
        rcode_with(self.is_signed, self.rcode, frame.echo.edns)
    }

    /// The rate limit's class of a reply.
    pub(super) fn class(self) -> Class {
        Class::of(self.rcode.into(), self.answers > 0, self.authoritative)
    }
}

/// The place of an extended error among those of answers that are kept, from 1; 0 if it is none of them.
fn kept_place(error: ExtendedError) -> u8 {
    let place = ExtendedError::KEPT.iter().position(|kept| *kept == error);
    place.map_or(0, |place| place as u8 + 1)
}
