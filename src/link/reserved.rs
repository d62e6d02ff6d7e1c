//! Reserved codes: words that mean something to programs or to people when they are the first label of a name.
//!
//! A link `wpad` could give a proxy to the browsers of a network, and a link `autodiscover` the passwords of mail programs
//! to a stranger. People take `www`, `mail` or `admin` for places of the operator, and RFC 2142 gives mailboxes such names.
//! A code `xn--…` is shown in another script (RFC 5890 §2.3.2.1), in which it may look like another code.

use super::Code;

/// The entries that a server has by default.
const DEFAULT: [&str; 72] = [
    "_*",
    "abuse",
    "account",
    "accounts",
    "admin",
    "administrator",
    "api",
    "auth",
    "autoconfig",
    "autodiscover",
    "billing",
    "broadcasthost",
    "cdn",
    "cpanel",
    "dns",
    "dns1",
    "dns2",
    "email",
    "exchange",
    "ftp",
    "gateway",
    "hostmaster",
    "imap",
    "info",
    "isatap",
    "kerberos",
    "ldap",
    "localdomain",
    "localhost",
    "login",
    "mail",
    "mail1",
    "mail2",
    "mta-sts",
    "mx",
    "mx1",
    "mx2",
    "noc",
    "ns",
    "ns0",
    "ns1",
    "ns2",
    "ns3",
    "ns4",
    "ntp",
    "openpgpkey",
    "owa",
    "pop",
    "pop3",
    "postmaster",
    "proxy",
    "root",
    "router",
    "security",
    "sftp",
    "sip",
    "smtp",
    "ssh",
    "sso",
    "status",
    "support",
    "time",
    "vpn",
    "webdisk",
    "webmail",
    "webmaster",
    "whm",
    "whois",
    "wpad",
    "www",
    "xmpp",
    "xn--*",
];

/// The list of reserved codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedCodes {
    words: Vec<Box<str>>,
    beginnings: Vec<Box<str>>,
}

/// Why a text is no entry of the list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a reserved code: 1 to 63 letters, digits, hyphens and underscores, and perhaps \"*\" at the end, such as \
     \"www\" or \"xn--*\""
)]
pub struct ReservedCodeError(String);

impl ReservedCodes {
    /// The most entries of a list.
    pub const MAX: usize = 1_024;

    /// No code is reserved.
    pub fn none() -> Self {
        Self {
            words: Vec::new(),
            beginnings: Vec::new(),
        }
    }

    /// Adds an entry: a code, or with `*` at its end the beginning of codes. Letter case does not matter.
    ///
    /// # Errors
    /// [`ReservedCodeError`] if the text is none of these.
    pub fn add(&mut self, entry: &str) -> Result<(), ReservedCodeError> {
        let lower = entry.to_ascii_lowercase();
        let (word, list) = match lower.strip_suffix('*') {
            Some(beginning) => (beginning, &mut self.beginnings),
            None => (&*lower, &mut self.words),
        };
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if !(1..=63).contains(&word.len()) || !word.bytes().all(is_plain) {
            return Err(ReservedCodeError(entry.chars().take(100).collect()));
        }
        list.push(word.into());
        Ok(())
    }

    /// Whether a code is reserved.
    pub fn contains(&self, code: &Code) -> bool {
        let code = code.as_str();
        self.words.iter().any(|word| **word == *code)
            || self
                .beginnings
                .iter()
                .any(|beginning| code.starts_with(&**beginning))
    }
}

impl Default for ReservedCodes {
    fn default() -> Self {
        let mut list = Self::none();
        for entry in DEFAULT {
            // A test shows that all of them are entries.
            let _ = list.add(entry);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_compared_as_a_whole_or_by_their_beginning() {
        let list = ReservedCodes::default();
        assert_eq!(list.words.len() + list.beginnings.len(), DEFAULT.len());
        let check = |code: &str, reserved: bool| {
            let code = Code::parse(code).unwrap();
            assert_eq!(list.contains(&code), reserved, "{code}");
        };
        check("WWW", true);
        check("wpad", true);
        check("ns2", true);
        check("xn--bcher-kva", true);
        check("wwwhatever", false);
        check("mailing", false);
        check("sale", false);
        let mut own = ReservedCodes::none();
        own.add("Team-*").unwrap();
        for bad in ["", "*", "a.b", "a*b", "ü", &"x".repeat(64)] {
            assert!(own.add(bad).is_err(), "{bad:?}");
        }
        assert!(own.contains(&Code::parse("team-a").unwrap()));
        assert!(!own.contains(&Code::parse("www").unwrap()));
    }
}
