//! The value of `Date` (RFC 9110 §6.6.1), which is the same for all responses of a second.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use crate::base::clock::UnixTime;

/// Appends a time.
pub(crate) fn push_date(out: &mut Vec<u8>, now: UnixTime) {
    thread_local! {
        /// The last second and its text.
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    // httpdate writes no later times, and panics.
    let now = now.min(UnixTime::MAX).0;
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now {
            *second = now;
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
        }
        out.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |time: UnixTime, expected: &str| {
            let mut out = b"date: ".to_vec();
            push_date(&mut out, time);
            assert_eq!(String::from_utf8(out).unwrap(), format!("date: {expected}"));
        };
        // The example of RFC 9110 §5.6.7.
        check(UnixTime(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        check(UnixTime(784_111_778), "Sun, 06 Nov 1994 08:49:38 GMT");
        check(UnixTime(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        check(UnixTime(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
