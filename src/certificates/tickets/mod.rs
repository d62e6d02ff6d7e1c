//! Session tickets that all servers of a store accept, also after a restart (RFC 8446 §4.6.1, RFC 5077).
//!
//! ```text
//!   ticket_keeper ── document `tls:tickets` in the store, sealed ── TicketKeys ── rustls
//! ```
//!
//! A ticket is the state of a session, encrypted with a ticket key. The servers of a store share the ticket keys in a
//! document: the key that is in use, the one before it and the next one. A key is in use for [`PERIOD`], and it is in the
//! document for as long before that, so every server can read a ticket before any server issues it. One server rotates
//! the keys with a conditional put, and the others read what it put.
//!
//! * `schedule` decides which keys there are at a time.
//! * `sealed` is the encoding. The keys are sealed with a key that is derived from the private key of the certificate.
//!   So only servers with the certificate can read them, and a certificate with another private key has other ticket
//!   keys: it ends all tickets of the earlier one.
//! * [`ticket_keeper`](super::ticket_keeper) reads and writes the document.
//!
//! While the store does not answer, a server goes on with the keys that it knows. When these are used up, or before it
//! has read any, it uses random keys of its own, as a server without a store would. A ticket that a server cannot read
//! costs a full handshake, and nothing else.

mod schedule;
mod sealed;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::crypto::ring::Ticketer;
use tokio_rustls::rustls::server::ProducesTickets;

#[cfg(test)]
pub(super) use self::schedule::ID_LEN as TICKET_ID_LEN;
use self::schedule::{ID_LEN, KeySet, TicketKey};
pub(super) use self::schedule::{NoRandom, PERIOD};
pub(super) use self::sealed::{Entries, TicketSeal};
use crate::base::clock::Clock;

/// How long clients may use a ticket, in seconds. A ticket may be refused earlier: from the end of the period after the
/// one in which it was issued.
const TICKET_LIFETIME: u32 = 2 * PERIOD as u32;
/// The longest ticket, in bytes. Without certificates of clients, a ticket has some hundred bytes.
const MAX_TICKET_LEN: usize = 4_096;

/// The ticket keys of one certificate. rustls encrypts and decrypts tickets with them.
pub(super) struct TicketKeys {
    /// The keys of the store; none before they were read.
    shared: ArcSwapOption<Shared>,
    /// Random keys, which rotate by themselves.
    own: Arc<dyn ProducesTickets>,
    seal: TicketSeal,
}

struct Shared {
    keys: KeySet,
    clock: Clock,
}

impl TicketKeys {
    pub(super) fn new(seal: TicketSeal) -> Result<Self, Error> {
        Ok(Self {
            shared: ArcSwapOption::empty(),
            own: Ticketer::new()?,
            seal,
        })
    }

    /// How the keys are sealed in the store.
    pub(super) fn seal(&self) -> &TicketSeal {
        &self.seal
    }

    /// Uses these keys from now on.
    pub(super) fn adopt(&self, keys: KeySet, clock: Clock) {
        self.shared.store(Some(Arc::new(Shared { keys, clock })));
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let shared = self.shared.load();
        let current = shared.as_ref();
        let current = current.and_then(|shared| shared.keys.current(shared.clock.now()));
        match current {
            Some(key) => key.encrypt(plain),
            None => self.own.encrypt(plain),
        }
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET_LEN {
            return None;
        }
        let shared = self.shared.load();
        let keys = shared.iter().flat_map(|shared| shared.keys.iter());
        let named = ticket.first_chunk::<ID_LEN>();
        match keys.into_iter().find(|key| Some(&key.id) == named) {
            Some(key) => key.decrypt(ticket),
            None => self.own.decrypt(ticket),
        }
    }
}

/// A ticket is the id of the key, a random nonce, and the encrypted state with its tag. Each key encrypts fewer tickets
/// than random nonces of 96 bits allow (2^32, NIST SP 800-38D §8.3): in six hours that would be 200,000 a second.
impl TicketKey {
    fn key(&self) -> Option<LessSafeKey> {
        let key = UnboundKey::new(&AES_256_GCM, &self.secret).ok()?;
        Some(LessSafeKey::new(key))
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut state = plain.to_vec();
        let aad = Aad::from(self.id);
        let key = self.key()?;
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, aad, &mut state).ok()?;
        Some([&self.id[..], &nonce, &state].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let rest = ticket.strip_prefix(&self.id)?;
        let (nonce, state) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut state = state.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(self.id);
        let len = self
            .key()?
            .open_in_place(nonce, aad, &mut state)
            .ok()?
            .len();
        state.truncate(len);
        Some(state)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys must not get into a log.
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}
