//! Which ticket keys there are at a time.

use ring::rand::{SecureRandom, SystemRandom};

use crate::base::clock::UnixTime;

/// How long a key is in use, in seconds.
pub(in crate::certificates) const PERIOD: u64 = 6 * 60 * 60;
/// How many keys there are at most: the previous one, the current one and the next one.
const MAX_KEYS: usize = 3;
/// The length of a key's id, in bytes.
pub(in crate::certificates) const ID_LEN: usize = 16;
const SECRET_LEN: usize = 32;
/// The length of an encoded key, in bytes: the time from which it is used, its id, and its secret.
const KEY_LEN: usize = 8 + ID_LEN + SECRET_LEN;

/// A ticket key.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::certificates) struct TicketKey {
    /// From when on it is used.
    pub(super) from: UnixTime,
    /// Names it in tickets. Random.
    pub(super) id: [u8; ID_LEN],
    /// The key itself, for AES-256-GCM.
    pub(super) secret: [u8; SECRET_LEN],
}

/// The ticket keys, in the order in which they are used. There is at least one, and at most [`MAX_KEYS`].
#[derive(Clone, PartialEq, Eq)]
pub(in crate::certificates) struct KeySet(Vec<TicketKey>);

/// The system has no random bytes to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random bytes to give")]
pub(in crate::certificates) struct NoRandom;

impl TicketKey {
    fn made(from: UnixTime) -> Result<Self, NoRandom> {
        let mut key = Self {
            from,
            id: [0; ID_LEN],
            secret: [0; SECRET_LEN],
        };
        let random = SystemRandom::new();
        random.fill(&mut key.id).map_err(|_| NoRandom)?;
        random.fill(&mut key.secret).map_err(|_| NoRandom)?;
        Ok(key)
    }
}

impl KeySet {
    /// New keys: one that is used at once, and the next one.
    pub(super) fn made(now: UnixTime) -> Result<Self, NoRandom> {
        let next = TicketKey::made(now.after(PERIOD))?;
        Ok(Self(vec![TicketKey::made(now)?, next]))
    }

    /// The keys that should follow these; none as long as these are right. Keys of which none is in use any more are
    /// replaced by new ones.
    pub(super) fn renewed(&self, now: UnixTime) -> Result<Option<Self>, NoRandom> {
        let Some(last) = self.0.last().filter(|last| now < last.from.after(PERIOD)) else {
            return Self::made(now).map(Some);
        };
        if now < last.from {
            return Ok(None);
        }
        // The last key has come into use, so there has to be a next one.
        let mut keys = self.0.clone();
        keys.push(TicketKey::made(last.from.after(PERIOD))?);
        let old = keys.len().saturating_sub(MAX_KEYS);
        keys.drain(..old);
        Ok(Some(Self(keys)))
    }

    /// The key that encrypts tickets now; none if the period of the last one is over. If the clock is behind, the first
    /// key.
    pub(super) fn current(&self, now: UnixTime) -> Option<&TicketKey> {
        if now >= self.end() {
            return None;
        }
        let begun = self.0.iter().rev().find(|key| key.from <= now);
        begun.or(self.0.first())
    }

    /// When the last key is no longer used.
    pub(super) fn end(&self) -> UnixTime {
        let last = self.0.last();
        last.map_or(UnixTime(0), |last| last.from.after(PERIOD))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TicketKey> {
        self.0.iter()
    }

    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * KEY_LEN);
        for key in &self.0 {
            bytes.extend_from_slice(&key.from.0.to_be_bytes());
            bytes.extend_from_slice(&key.id);
            bytes.extend_from_slice(&key.secret);
        }
        bytes
    }

    /// Reads encoded keys; none if the bytes are something else.
    pub(super) fn decoded(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.as_chunks::<KEY_LEN>();
        if !rest.is_empty() || !(1..=MAX_KEYS).contains(&keys.len()) {
            return None;
        }
        let keys = keys.iter().map(|key| {
            let (from, key) = key.split_first_chunk()?;
            let (id, secret) = key.split_first_chunk()?;
            Some(TicketKey {
                from: UnixTime(u64::from_be_bytes(*from)),
                id: *id,
                secret: secret.try_into().ok()?,
            })
        });
        keys.collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_700_000_000);

    fn ids(keys: &KeySet) -> Vec<[u8; ID_LEN]> {
        keys.iter().map(|key| key.id).collect()
    }

    #[test]
    fn a_key_is_known_for_a_period_before_it_is_used() {
        let first = KeySet::made(NOW).unwrap();
        let current = |keys: &KeySet, at: u64| keys.current(NOW.after(at)).map(|key| key.id);
        let [one, two] = ids(&first)[..] else {
            panic!("{}", first.0.len())
        };
        assert_eq!(current(&first, 0), Some(one));
        assert_eq!(current(&first, PERIOD - 1), Some(one));
        assert!(first.renewed(NOW.after(PERIOD - 1)).unwrap().is_none());

        let second = first.renewed(NOW.after(PERIOD)).unwrap().unwrap();
        assert_eq!(ids(&second)[..2], [one, two]);
        assert_eq!(current(&second, PERIOD), Some(two));
        // A server that has not read the new keys uses the same one.
        assert_eq!(current(&first, PERIOD), Some(two));
        assert_eq!(current(&first, 2 * PERIOD - 1), Some(two));
        assert_eq!(current(&first, 2 * PERIOD), None);

        let third = second.renewed(NOW.after(2 * PERIOD + 5)).unwrap().unwrap();
        assert_eq!(ids(&third)[0], two);
        assert_eq!(third.0.len(), MAX_KEYS);
        assert_eq!(current(&third, 2 * PERIOD + 5), Some(ids(&second)[2]));
    }

    #[test]
    fn old_keys_are_replaced_and_a_clock_behind_finds_a_key() {
        let first = KeySet::made(NOW).unwrap();
        let late = NOW.after(2 * PERIOD);
        let new = first.renewed(late).unwrap().unwrap();
        assert!(ids(&new).iter().all(|id| !ids(&first).contains(id)));
        assert_eq!(new.current(late).map(|key| key.from), Some(late));
        let behind = first.current(UnixTime(5)).map(|key| key.id);
        assert_eq!(behind, Some(ids(&first)[0]));
    }

    #[test]
    fn encoding() {
        let keys = KeySet::made(NOW).unwrap();
        let bytes = keys.encoded();
        assert!(KeySet::decoded(&bytes) == Some(keys));
        assert!(KeySet::decoded(&bytes[1..]).is_none());
        assert!(KeySet::decoded(&[]).is_none());
        assert!(KeySet::decoded(&bytes.repeat(2)).is_none());
    }
}
