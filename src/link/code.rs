//! The short code: one DNS label, derived from the URL by MD5 or chosen by the client.
//!
//! DNS compares names without case, and resolvers randomise the case (0x20), so base62 codes would collide with
//! each other. Codes here are base36 in lower case. Eight digits have 36^8 values, some 2.8 * 10^12, a little
//! over 41 of the 48 bits of the hash.

use std::fmt;

use md5::{Digest, Md5};

use super::TargetUrl;

/// The number of digits of a code that is derived from a URL.
const FOLDED_LEN: usize = 8;
/// 36^8: the number of codes with [`FOLDED_LEN`] digits.
const FOLDED_SPACE: u64 = 36_u64.pow(FOLDED_LEN as u32);
/// The longest DNS label, in bytes (RFC 1035 §2.3.4).
const MAX_LEN: usize = 63;

/// A short code: 1 to 63 lower-case letters, digits and inner hyphens (the host-name rule of
/// RFC 1123 §2.1), which makes every code a legal DNS label and a legal host name in a URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(Box<str>);

/// Why a text is not a code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It is empty.
    #[error("a code needs at least one character")]
    Empty,
    /// It is longer than a DNS label can be.
    #[error("a code has at most {MAX_LEN} characters; this one has {0}")]
    TooLong(usize),
    /// A character that is neither letter, digit nor hyphen.
    #[error("a code has only letters, digits and hyphens; this one has {0:?}")]
    BadCharacter(char),
    /// A hyphen at either end.
    #[error("a code neither begins nor ends with a hyphen")]
    OuterHyphen,
}

impl Code {
    /// A code that a client has chosen, in lower case.
    ///
    /// # Errors
    /// [`CodeError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        Self::check(text)?;
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// Whether a text can be a code, in any case.
    ///
    /// # Errors
    /// [`CodeError`] says which rule the text breaks.
    pub fn check(text: &str) -> Result<(), CodeError> {
        if text.is_empty() {
            return Err(CodeError::Empty);
        }
        if let Some(c) = text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || *c == '-'))
        {
            return Err(CodeError::BadCharacter(c));
        }
        if text.len() > MAX_LEN {
            return Err(CodeError::TooLong(text.len()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return Err(CodeError::OuterHyphen);
        }
        Ok(())
    }

    /// The code of a URL at the given attempt; attempt 0 is the ordinary case.
    ///
    /// Of the 32 hex digits of the MD5 digest, the first 10, the middle 12 and the last 10 are each read as a
    /// number, and these numbers are XORed to 48 bits. Attempt n > 0, for a code that another URL has, hashes
    /// the URL followed by a NUL byte (which no URL contains) and the decimal n.
    pub fn fold(url: &TargetUrl, attempt: u32) -> Self {
        let mut md5 = Md5::new();
        md5.update(url.as_str());
        if attempt > 0 {
            md5.update([0]);
            md5.update(attempt.to_string());
        }
        let digest = u128::from_be_bytes(md5.finalize().into());
        let left = digest >> 88;
        let middle = (digest >> 40) & ((1 << 48) - 1);
        let right = digest & ((1 << 40) - 1);
        Self::from_number((left ^ middle ^ right) as u64)
    }

    /// `number` mod 36^8 in base 36, padded with `0` to eight digits.
    fn from_number(number: u64) -> Self {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut rest = number % FOLDED_SPACE;
        let mut code = String::with_capacity(FOLDED_LEN);
        for place in (0..FOLDED_LEN as u32).rev() {
            let unit = 36_u64.pow(place);
            code.push(char::from(DIGITS[(rest / unit) as usize]));
            rest %= unit;
        }
        Self(code.into())
    }

    /// The code as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(url: &str, attempt: u32) -> String {
        Code::fold(&TargetUrl::parse(url).unwrap(), attempt).to_string()
    }

    /// Worked out with Python's hashlib:
    ///
    /// ```python
    /// def fold(url, n):
    ///     h = hashlib.md5(url.encode() + (b"\0" + str(n).encode() if n else b"")).hexdigest()
    ///     v = (int(h[:10], 16) ^ int(h[10:22], 16) ^ int(h[22:], 16)) % 36**8
    ///     return "".join("0123456789abcdefghijklmnopqrstuvwxyz"[v // 36**i % 36] for i in range(7, -1, -1))
    /// ```
    #[test]
    fn folds_as_hashlib_does() {
        for (url, attempt, code) in FOLD_VECTORS {
            assert_eq!(folded(url, *attempt), *code, "{url} attempt {attempt}");
        }
    }

    const FOLD_VECTORS: &[(&str, u32, &str)] = &[
        ("https://example.net/", 0, "nwgl7hls"),
        ("https://example.net/", 1, "7rfsv45q"),
        ("https://example.net/", 15, "zgxegh21"),
        ("http://www.iana.org/help/example-domains", 0, "z8vx8s3a"),
        ("https://xn--bcher-kva.example/%C3%A4", 0, "6l5adoar"),
        ("https://example.net/?q=1#top", 0, "zhc7fkwo"),
        (
            "https://en.wikipedia.org/wiki/URL_shortening",
            0,
            "rgwreynu",
        ),
    ];

    #[test]
    fn numbers_are_padded_and_wrap() {
        assert_eq!(Code::from_number(0).as_str(), "00000000");
        assert_eq!(Code::from_number(35).as_str(), "0000000z");
        assert_eq!(Code::from_number(36).as_str(), "00000010");
        assert_eq!(Code::from_number(FOLDED_SPACE - 1).as_str(), "zzzzzzzz");
        assert_eq!(Code::from_number(FOLDED_SPACE + 1).as_str(), "00000001");
    }

    #[test]
    fn callers_codes() {
        let ok = |text: &str| Code::parse(text).unwrap().to_string();
        assert_eq!(ok("a"), "a");
        assert_eq!(ok("Spring-Sale"), "spring-sale");
        assert_eq!(ok("xn--bcher-kva"), "xn--bcher-kva");
        assert_eq!(ok(&"a".repeat(63)).len(), 63);

        let err = |text: &str| Code::parse(text).unwrap_err();
        assert_eq!(err(""), CodeError::Empty);
        assert_eq!(err(&"a".repeat(64)), CodeError::TooLong(64));
        assert_eq!(err("a.b"), CodeError::BadCharacter('.'));
        assert_eq!(err("a_b"), CodeError::BadCharacter('_'));
        assert_eq!(err("é"), CodeError::BadCharacter('é'));
        assert_eq!(err("a\0"), CodeError::BadCharacter('\0'));
        assert_eq!(err("-a"), CodeError::OuterHyphen);
        assert_eq!(err("a-"), CodeError::OuterHyphen);
        assert_eq!(err("-"), CodeError::OuterHyphen);
    }

    proptest! {
        #[test]
        fn a_folded_code_is_a_valid_code(path in "[a-z0-9/]{0,40}", attempt in 0_u32..20) {
            let url = TargetUrl::parse(&format!("https://example.net/{path}")).unwrap();
            let code = Code::fold(&url, attempt);
            prop_assert_eq!(code.as_str().len(), FOLDED_LEN);
            prop_assert_eq!(Code::parse(code.as_str()).unwrap(), code);
        }

        #[test]
        fn parse_never_panics_and_is_idempotent(text in any::<String>()) {
            if let Ok(code) = Code::parse(&text) {
                prop_assert!(code.as_str().eq_ignore_ascii_case(&text));
                prop_assert_eq!(Code::parse(code.as_str()).unwrap(), code);
            }
        }
    }
}
