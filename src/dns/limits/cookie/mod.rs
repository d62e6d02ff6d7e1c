//! DNS cookies (RFC 7873), in the form that servers of different makers share (RFC 9018).
//!
//! A client sends eight bytes of its own, and gets them back with sixteen bytes of the server, which only a receiver
//! of packets at the client's address can know. A client that sends both again has proved its address. The server
//! stores nothing: its bytes are a hash of the client's bytes, the time and the address, under a secret.
//!
//! ```text
//!   0       8 9  12      16      20      24
//!   | client |v|res| time  | SipHash-2-4   |
//! ```

pub mod secrets;

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use siphasher::sip::SipHasher24;

use self::secrets::CookieSecrets;
use crate::base::clock::UnixTime;

/// The option code (RFC 7873 §4).
pub(crate) const OPTION_COOKIE: u16 = 10;
/// The length of a whole cookie with a server part of this form, in bytes (RFC 9018 §4).
pub(crate) const COOKIE_LEN: usize = CLIENT_LEN + SERVER_LEN;
const CLIENT_LEN: usize = 8;
const SERVER_LEN: usize = 16;
/// The lengths that the server part of a cookie can have (RFC 7873 §4).
const ANY_SERVER_LEN: std::ops::RangeInclusive<usize> = 8..=32;
/// Version 1, and three bytes that are zero (RFC 9018 §4.1, §4.2).
const VERSION: [u8; 4] = [1, 0, 0, 0];
/// How old a cookie may be, and how far ahead of the server's clock, in seconds (RFC 9018 §4.3).
const MAX_AGE: i32 = 60 * 60;
const MAX_AHEAD: i32 = 5 * 60;
/// The age from which on a client gets a new cookie, in seconds (RFC 9018 §4.3).
const RENEW_AGE: i32 = 30 * 60;

/// Makes and checks server cookies. Until it gets secrets, there are no cookies.
#[derive(Debug, Default)]
pub(crate) struct Cookies {
    secrets: ArcSwapOption<CookieSecrets>,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The whole cookie for the reply.
    pub(crate) cookie: [u8; COOKIE_LEN],
    /// Whether the client has sent a valid cookie, and so has proved its address.
    pub(crate) is_valid: bool,
}

/// The cookie option of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cookie<'p> {
    client: [u8; CLIENT_LEN],
    /// The server's part; empty if the client does not have one yet.
    server: &'p [u8],
}

impl<'p> Cookie<'p> {
    /// Whether the client has sent a server's part.
    pub(crate) fn has_server(&self) -> bool {
        !self.server.is_empty()
    }

    /// Reads the data of the option; none if no cookie can have their length, which makes the query malformed (RFC
    /// 7873 §5.2.2).
    pub(crate) fn read(data: &'p [u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk()?;
        let is_whole = server.is_empty() || ANY_SERVER_LEN.contains(&server.len());
        is_whole.then_some(Self {
            client: *client,
            server,
        })
    }
}

impl Cookies {
    /// Uses these secrets from now on.
    pub(crate) fn set(&self, secrets: CookieSecrets) {
        self.secrets.store(Some(Arc::new(secrets)));
    }

    /// Checks a client's cookie. The reply repeats the cookie if it is valid, recent, and made with the first
    /// secret; otherwise the reply has a new cookie.
    pub(crate) fn check(&self, cookie: &Cookie<'_>, ip: IpAddr, now: UnixTime) -> Option<Checked> {
        // RFC 9018 §4.3: serial number arithmetic, so the check goes on after 2106.
        let now = now.0 as u32;
        let secrets = self.secrets.load();
        let secrets = secrets.as_deref()?;
        let known = known(secrets, cookie, ip, now);
        let server = match known {
            Some(known) if known.is_of_first && known.age < RENEW_AGE => known.server,
            _ => server_part(
                &secrets.first,
                &cookie.client,
                VERSION,
                now.to_be_bytes(),
                ip,
            ),
        };
        let mut whole = [0; COOKIE_LEN];
        let (client_part, server_part) = whole.split_at_mut(CLIENT_LEN);
        client_part.copy_from_slice(&cookie.client);
        server_part.copy_from_slice(&server);
        Some(Checked {
            cookie: whole,
            is_valid: known.is_some(),
        })
    }
}

/// A valid server's part.
#[derive(Clone, Copy)]
struct OwnCookie {
    /// Whether it was made with the first secret.
    is_of_first: bool,
    /// In seconds; below zero if it was made by a clock that is ahead.
    age: i32,
    server: [u8; SERVER_LEN],
}

/// Checks the server's part of a client's cookie; none if it is not valid, or too old.
fn known(secrets: &CookieSecrets, cookie: &Cookie<'_>, ip: IpAddr, now: u32) -> Option<OwnCookie> {
    let server: [u8; SERVER_LEN] = cookie.server.try_into().ok()?;
    let [v0, r0, r1, r2, t0, t1, t2, t3, ..] = server;
    let time = [t0, t1, t2, t3];
    let age = now.wrapping_sub(u32::from_be_bytes(time)) as i32;
    if v0 != VERSION[0] || !(-MAX_AHEAD..=MAX_AGE).contains(&age) {
        return None;
    }
    // Other servers of a fleet may set the reserved bytes, which are part of the hash (RFC 9018 §4.4). The
    // comparison need not take constant time: an attacker that receives the replies can have a cookie anyway.
    let is_ours = |secret: &SipHasher24| {
        server == server_part(secret, &cookie.client, [v0, r0, r1, r2], time, ip)
    };
    let is_of_first = is_ours(&secrets.first);
    let is_known = is_of_first || secrets.others.iter().any(is_ours);
    is_known.then_some(OwnCookie {
        is_of_first,
        age,
        server,
    })
}

/// Makes the server's part of a cookie (RFC 9018 §4).
fn server_part(
    secret: &SipHasher24,
    client: &[u8; CLIENT_LEN],
    version: [u8; 4],
    time: [u8; 4],
    ip: IpAddr,
) -> [u8; SERVER_LEN] {
    let mut part = [0; SERVER_LEN];
    part[..4].copy_from_slice(&version);
    part[4..8].copy_from_slice(&time);
    let mut hasher = *secret;
    hasher.write(client);
    hasher.write(&part[..8]);
    // An IPv4 address may come mapped into IPv6; all servers of a fleet have to hash the same bytes.
    match ip.to_canonical() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    // RFC 9018 §4.4 takes the bytes as SipHash's reference code writes them: the lowest first.
    part[8..].copy_from_slice(&hasher.finish().to_le_bytes());
    part
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

    /// A server with these secrets.
    fn cookies(secrets: &[&str]) -> Cookies {
        let mut secrets = secrets
            .iter()
            .map(|secret| bytes(secret).try_into().unwrap());
        let cookies = Cookies::default();
        cookies.set(CookieSecrets::of(secrets.next().unwrap(), secrets));
        cookies
    }

    fn look(server: &Cookies, sent: &[u8], ip: &str, now: u64) -> Checked {
        let cookie = Cookie::read(sent).unwrap();
        server
            .check(&cookie, ip.parse().unwrap(), UnixTime(now))
            .unwrap()
    }

    fn check(secret: &str, sent: &str, ip: &str, now: u64, expected: &str) {
        let checked = look(&cookies(&[secret]), &bytes(sent), ip, now);
        assert_eq!(checked.cookie.to_vec(), bytes(expected));
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
            let checked = look(&cookies(&[SECRET]), &bytes(first), ip, now);
            u64::from(u32::from_be_bytes(
                checked.cookie[12..16].try_into().unwrap(),
            ))
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

    /// Which of its cookies a server knows again.
    #[test]
    fn rfc9018_4_3_a_cookie_is_valid_for_an_hour() {
        let made = 1_559_731_985;
        let first = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        let valid = |sent: &str, ip: &str, now: u64| {
            look(&cookies(&[SECRET]), &bytes(sent), ip, now).is_valid
        };
        let ip = "198.51.100.100";
        for now in [made - 300, made, made + 1_800, made + 3_600] {
            assert!(valid(first, ip, now), "{now}");
        }
        for now in [made - 301, made + 3_601, made + (1 << 31), 0] {
            assert!(!valid(first, ip, now), "{now}");
        }
        assert!(valid(first, "::ffff:198.51.100.100", made));
        assert!(!valid(first, "198.51.100.101", made));
        assert!(!valid(&first[..16], ip, made), "none yet");
        // Any bit of it: the client's part, version, reserved bytes, time, hash.
        for byte in 0..first.len() / 2 {
            let mut sent = bytes(first);
            sent[byte] ^= 1;
            let hex: String = sent.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!valid(&hex, ip, made), "byte {byte}");
        }
        for server_len in (8..=32).filter(|len| *len != 16) {
            let sent = format!("{first}{}", "00".repeat(32));
            assert!(!valid(&sent[..16 + 2 * server_len], ip, made));
        }
    }

    /// Another secret than that of the RFC's examples.
    const NEW: &str = "445536bcd2513298075a5d379663c962";
    const IP: &str = "192.0.2.7";
    const NOW: u64 = 1_700_000_000;

    /// Two servers, and a client that meets both of them at every stage.
    #[test]
    fn rfc9018_5_a_roll_over_refuses_no_cookie() {
        let servers = [cookies(&[SECRET]), cookies(&[SECRET])];
        let (first, mut now) = (bytes("2464c4abcf10c957"), NOW);
        let mut sent = look(&servers[0], &first, IP, now).cookie;
        for stage in [&[SECRET, NEW][..], &[NEW, SECRET], &[NEW]] {
            // The servers get it one after the other.
            for server in &servers {
                let secrets = cookies(stage).secrets.load_full();
                server.secrets.store(secrets);
                for server in servers.iter().cycle().take(4) {
                    let checked = look(server, &sent, IP, now);
                    assert!(checked.is_valid, "{stage:?}");
                    sent = checked.cookie;
                    now += 60;
                }
            }
        }
        // By then, no cookie made with the old secret is accepted.
        let old = look(&cookies(&[SECRET]), &first, IP, now).cookie;
        assert!(!look(&servers[0], &old, IP, now).is_valid);
    }

    #[test]
    fn rfc9018_5_a_cookie_of_the_old_secret_is_replaced() {
        let first = bytes("2464c4abcf10c957");
        let old = look(&cookies(&[SECRET]), &first, IP, NOW);
        assert!(!old.is_valid);
        let checked = look(&cookies(&[NEW, SECRET]), &old.cookie, IP, NOW);
        assert!(checked.is_valid);
        let new = look(&cookies(&[NEW]), &first, IP, NOW);
        assert_eq!(checked.cookie, new.cookie);
        // While the new one is only known, it is left as it is.
        let checked = look(&cookies(&[SECRET, NEW]), &old.cookie, IP, NOW);
        assert_eq!(checked.cookie, old.cookie);
    }

    #[test]
    fn without_a_secret_there_are_no_cookies() {
        let cookie = bytes("2464c4abcf10c957");
        let cookie = Cookie::read(&cookie).unwrap();
        let checked = Cookies::default().check(&cookie, IP.parse().unwrap(), UnixTime(NOW));
        assert_eq!(checked, None);
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
