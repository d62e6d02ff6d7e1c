//! Answers about links.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

/// A server's answer about a link's name. Any other reply fails the test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It leads there.
    Url(String),
    /// There is no such link: NXDOMAIN.
    Absent,
    /// The server cannot know: SERVFAIL, with the extended error if there is one (RFC 8914).
    Unknown(Option<u16>),
}

impl Answer {
    /// It leads there.
    pub fn url(url: &str) -> Self {
        Self::Url(url.into())
    }

    pub fn of(reply: &Message) -> Self {
        match reply.metadata.response_code {
            ResponseCode::NoError => {
                let texts = reply
                    .answers
                    .iter()
                    .filter_map(|record| match &record.data {
                        RData::TXT(txt) => Some(txt.txt_data.concat()),
                        _ => None,
                    });
                let texts: Vec<_> = texts.collect();
                assert_eq!(texts.len(), 1, "{reply:?}");
                Self::Url(String::from_utf8(texts.concat()).unwrap())
            }
            ResponseCode::NXDomain => {
                assert!(reply.answers.is_empty(), "{reply:?}");
                assert_eq!(reply.authorities.len(), 1, "{reply:?}");
                Self::Absent
            }
            ResponseCode::ServFail => {
                let empty = reply.answers.is_empty() && reply.authorities.is_empty();
                assert!(empty, "{reply:?}");
                let edns = reply.edns.as_ref();
                let option = edns.and_then(|edns| edns.option(EdnsCode::Unknown(15)));
                Self::Unknown(option.map(|option| match option {
                    EdnsOption::Unknown(_, data) => u16::from_be_bytes([data[0], data[1]]),
                    other => panic!("{other:?}"),
                }))
            }
            _ => panic!("{reply:?}"),
        }
    }
}
