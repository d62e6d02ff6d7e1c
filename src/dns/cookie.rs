//! DNS cookies (RFC 7873), in the form that servers of different makers share (RFC 9018).
//!
//! A client sends eight bytes of its own, and gets them back with sixteen of ours, which only somebody
//! who receives packets at that address can know. Whoever sends both again has thereby shown that its
//! address is no forgery. Nothing is stored for this: our bytes are a hash of the client's, the time,
//! and the address, under a secret.
//!
//! ```text
//!   0       8 9  12      16      20      24
//!   | client |v|res| time  | SipHash-2-4   |
//! ```

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

use crate::clock::UnixTime;

/// The option code (RFC 7873 §4).
pub(super) const OPTION_COOKIE: u16 = 10;
/// The length of a whole cookie as we make them, in bytes (RFC 9018 §4).
pub(super) const COOKIE_LEN: usize = CLIENT_LEN + SERVER_LEN;
const CLIENT_LEN: usize = 8;
const SERVER_LEN: usize = 16;
/// The lengths that a server cookie of any maker can have (RFC 7873 §4).
const ANY_SERVER_LEN: std::ops::RangeInclusive<usize> = 8..=32;
/// Version 1, and three bytes that are zero (RFC 9018 §4.1, §4.2).
const VERSION: [u8; 4] = [1, 0, 0, 0];
/// How old a cookie may be, and how far ahead of our clock, in seconds (RFC 9018 §4.3).
const MAX_AGE: i32 = 60 * 60;
const MAX_AHEAD: i32 = 5 * 60;
/// From what age on a client is given a new one, in seconds (RFC 9018 §4.3).
const RENEW_AGE: i32 = 30 * 60;

/// Makes the server's cookies and knows them again.
#[derive(Clone)]
pub(super) struct Cookies {
    hasher: SipHasher24,
}

/// The cookie option of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie<'p> {
    client: [u8; CLIENT_LEN],
    /// Empty if the client has none from us yet.
    server: &'p [u8],
}

impl<'p> Cookie<'p> {
    /// Reads the data of the option; none if they have no length that a cookie can have, which makes the
    /// query malformed (RFC 7873 §5.2.2).
    pub(super) fn read(data: &'p [u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk()?;
        let is_whole = server.is_empty() || ANY_SERVER_LEN.contains(&server.len());
        is_whole.then_some(Self {
            client: *client,
            server,
        })
    }
}

impl Cookies {
    /// Cookies under this secret.
    pub(super) fn new(secret: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher24::new_with_key(secret),
        }
    }

    /// The cookie for the reply to a client: the one it has sent if that is ours and of late, else a new
    /// one.
    pub(super) fn reply(&self, cookie: &Cookie<'_>, ip: IpAddr, now: UnixTime) -> [u8; COOKIE_LEN] {
        // RFC 9018 §4.3: serial number arithmetic, so the year 2106 is no end.
        let now = now.0 as u32;
        let server = match self.age(cookie, ip, now) {
            Some((age, server)) if age < RENEW_AGE => server,
            _ => self.server_part(&cookie.client, VERSION, now.to_be_bytes(), ip),
        };
        let mut whole = [0; COOKIE_LEN];
        let (client_part, server_part) = whole.split_at_mut(CLIENT_LEN);
        client_part.copy_from_slice(&cookie.client);
        server_part.copy_from_slice(&server);
        whole
    }

    /// The server's part of a cookie and how old it is, in seconds, below zero if it is of a clock ahead
    /// of ours; none if it is not ours, or too old.
    fn age(&self, cookie: &Cookie<'_>, ip: IpAddr, now: u32) -> Option<(i32, [u8; SERVER_LEN])> {
        let server: [u8; SERVER_LEN] = cookie.server.try_into().ok()?;
        let [v0, r0, r1, r2, t0, t1, t2, t3, ..] = server;
        let time = [t0, t1, t2, t3];
        let age = now.wrapping_sub(u32::from_be_bytes(time)) as i32;
        // The reserved bytes may be somebody else's; they are part of the hash (RFC 9018 §4.4).
        let ours = self.server_part(&cookie.client, [v0, r0, r1, r2], time, ip);
        // A forger learns nothing from how long the comparison takes: an address that gets our replies
        // can have a cookie anyway.
        let is_good = v0 == VERSION[0] && (-MAX_AHEAD..=MAX_AGE).contains(&age) && server == ours;
        is_good.then_some((age, server))
    }

    /// The server's part of a cookie (RFC 9018 §4).
    fn server_part(
        &self,
        client: &[u8; CLIENT_LEN],
        version: [u8; 4],
        time: [u8; 4],
        ip: IpAddr,
    ) -> [u8; SERVER_LEN] {
        let mut part = [0; SERVER_LEN];
        part[..4].copy_from_slice(&version);
        part[4..8].copy_from_slice(&time);
        let mut hasher = self.hasher;
        hasher.write(client);
        hasher.write(&part[..8]);
        match ip {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        // RFC 9018 §4.4 has the bytes as SipHash's own code writes them: the lowest first.
        part[8..].copy_from_slice(&hasher.finish().to_le_bytes());
        part
    }
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cookies").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    fn cookies(secret: &str) -> Cookies {
        Cookies::new(bytes(secret).as_slice().try_into().unwrap())
    }

    fn check(secret: &str, sent: &str, ip: &str, now: u64, expected: &str) {
        let sent = bytes(sent);
        let cookie = Cookie::read(&sent).unwrap();
        let reply = cookies(secret).reply(&cookie, ip.parse().unwrap(), UnixTime(now));
        assert_eq!(reply.to_vec(), bytes(expected));
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    #[test]
    fn rfc9018_appendix_a_1_learning_a_new_server_cookie() {
        check(
            SECRET,
            "2464c4abcf10c957",
            "198.51.100.100",
            1_559_731_985,
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
        );
    }

    #[test]
    fn rfc9018_appendix_a_2_the_same_client_learning_a_renewed_server_cookie() {
        check(
            SECRET,
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            "198.51.100.100",
            1_559_734_385,
            "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
        );
    }

    #[test]
    fn rfc9018_appendix_a_3_another_client() {
        check(
            SECRET,
            "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
            "203.0.113.203",
            1_559_734_700,
            // Its reserved bytes are not zero; ours are.
            "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
        );
    }

    #[test]
    fn rfc9018_appendix_a_4_ipv6_and_another_secret() {
        let sent = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
        let ip = "2001:db8:220:1:59de:d0f4:8769:82b8";
        let now = 1_559_741_961;
        check("dd3bdf9344b678b185a6f5cb60fca715", sent, ip, now, sent);
        check(
            "445536bcd2513298075a5d379663c962",
            sent,
            ip,
            now,
            "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
        );
    }

    #[test]
    fn rfc9018_4_3_a_cookie_is_kept_for_half_an_hour() {
        let first = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let made = 1_559_731_985;
        for now in [made, made + 1, made + 29 * 60, made - 299] {
            check(SECRET, first, "198.51.100.100", now, first);
        }
        let server_of = |now: u64, ip: &str| {
            let sent = bytes(first);
            let cookie = Cookie::read(&sent).unwrap();
            let reply = cookies(SECRET).reply(&cookie, ip.parse().unwrap(), UnixTime(now));
            u64::from(u32::from_be_bytes(reply[12..16].try_into().unwrap()))
        };
        for now in [made + 30 * 60, made + 3_601, made - 301] {
            assert_eq!(server_of(now, "198.51.100.100"), now);
        }
        assert_eq!(
            server_of(made + 1, "198.51.100.101"),
            made + 1,
            "another address"
        );
    }

    #[test]
    fn rfc7873_5_2_2_lengths() {
        let lengths: Vec<_> = (0..50)
            .filter(|len| Cookie::read(&vec![0; *len]).is_some())
            .collect();
        let expected: Vec<_> = std::iter::once(8).chain(16..=40).collect();
        assert_eq!(lengths, expected);
    }
}
