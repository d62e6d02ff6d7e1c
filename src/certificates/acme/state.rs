//! What a zone's attempts have come to, and when the next one is due. The store keeps it, so that a delay holds over
//! restarts and on all servers.

use serde::{Deserialize, Serialize};

use super::certificate::Certificate;
use super::failure::{Failure, FailureKind};
use super::schedule::{self, Window};
use super::self_check::WrongAnswer;
use crate::base::clock::UnixTime;
use crate::link::Origin;

/// How long an attempt may take, in seconds: a server that has begun one longer ago has died.
pub(super) const LONGEST_ATTEMPT: u64 = 10 * 60;

/// The longest delay after a failure, in seconds: a directory cannot ask for more than a week.
const LONGEST_DELAY: u64 = 8 * 24 * 60 * 60;

/// The document `acme:state:<origin>`. Times are in seconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ZoneState {
    /// The directory of the attempts; none before the first one.
    pub(super) directory: Option<String>,
    /// When the attempt began that is under way.
    pub(super) began: Option<u64>,
    /// When the last certificate came.
    pub(super) succeeded: Option<u64>,
    /// The last failure since then.
    pub(super) failure: Option<Reported>,
    /// How many attempts in succession have failed.
    pub(super) failures: u32,
    /// Before this time there is no attempt.
    pub(super) not_before: Option<u64>,
    /// Whether an operator has asked for a certificate now.
    pub(super) is_forced: bool,
    /// The window for the renewal, as the directory suggests it.
    pub(super) window: Option<Window>,
    /// When the directory is to be asked for the window again.
    pub(super) next_look: Option<u64>,
}

/// A failure as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reported {
    pub(super) kind: FailureKind,
    pub(super) reason: String,
    pub(super) at: u64,
    #[serde(default)]
    pub(super) addresses: Vec<WrongAnswer>,
}

/// What a zone needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A certificate.
    Order,
    /// A look at the renewal information of its certificate.
    Look,
    Nothing,
}

impl ZoneState {
    /// What the zone needs now. `directory` is that of the settings.
    pub(super) fn due(
        &self,
        origin: &Origin,
        certificate: Option<&Certificate>,
        directory: &str,
        now: UnixTime,
    ) -> Due {
        if self.next_order(origin, certificate, directory, now) <= now {
            return Due::Order;
        }
        let is_current = |certificate: &&Certificate| {
            certificate.directory == directory && now < certificate.facts.not_after
        };
        match certificate.filter(is_current) {
            Some(_)
                if self
                    .next_look
                    .is_none_or(|at| at <= now.0 || is_absurd(at, now)) =>
            {
                Due::Look
            }
            _ => Due::Nothing,
        }
    }

    /// When the next certificate is to be ordered.
    pub(super) fn next_order(
        &self,
        origin: &Origin,
        certificate: Option<&Certificate>,
        directory: &str,
        now: UnixTime,
    ) -> UnixTime {
        if self.is_forced {
            return UnixTime(0);
        }
        let wanted = match certificate {
            // A certificate of another directory may be one that clients do not trust, such as that of a test.
            Some(certificate) if certificate.directory == directory => {
                self.renewal(origin, certificate)
            }
            _ => UnixTime(0),
        };
        let is_other = self.directory.as_deref().is_some_and(|of| of != directory);
        let delay = self
            .not_before
            .filter(|at| !is_other && !is_absurd(*at, now));
        wanted.max(UnixTime(delay.unwrap_or(0)))
    }

    /// When a certificate is to be renewed.
    pub(super) fn renewal(&self, origin: &Origin, certificate: &Certificate) -> UnixTime {
        let facts = &certificate.facts;
        let validity = (facts.not_before, facts.not_after);
        let seed = (origin.as_str(), facts.serial.as_str());
        schedule::renewal(validity, self.window, &seed)
    }

    /// Whether a server orders now, as far as this server knows.
    pub(super) fn is_under_way(&self, now: UnixTime) -> bool {
        let began = self.began.map(UnixTime);
        began.is_some_and(|began| began.until(now) < LONGEST_ATTEMPT)
    }

    /// The state at the beginning of an attempt at this directory. What another directory has answered before says
    /// nothing about this one.
    pub(super) fn begin(&mut self, now: UnixTime, directory: &str) {
        if self.directory.as_deref() != Some(directory) {
            *self = Self {
                directory: Some(directory.into()),
                is_forced: self.is_forced,
                ..Self::default()
            };
        }
        self.began = Some(now.0);
    }

    /// The state after a success with a certificate that ends at `end`.
    pub(super) fn succeed(&mut self, now: UnixTime, end: UnixTime) {
        *self = Self {
            directory: self.directory.take(),
            succeeded: Some(now.0),
            not_before: Some(schedule::after_success(now, end).0),
            ..Self::default()
        };
    }

    /// The state after a failure.
    pub(super) fn fail(&mut self, origin: &Origin, now: UnixTime, failure: &Failure) {
        self.began = None;
        self.is_forced = false;
        self.failures = self.failures.saturating_add(1);
        let delay = schedule::delay(failure, self.failures, &origin.as_str());
        self.not_before = Some(now.after(delay).0);
        self.failure = Some(Reported {
            kind: failure.kind,
            reason: failure.reason.clone(),
            at: now.0,
            addresses: failure.addresses.clone(),
        });
    }

    /// The state after an operator has asked for a certificate now.
    pub(super) fn force(&mut self) {
        self.is_forced = true;
    }

    /// The state after a look at the renewal information.
    pub(super) fn look(&mut self, now: UnixTime, window: Option<Window>, retry_after: Option<u64>) {
        // A look that failed changes nothing that an earlier one has found.
        self.window = window.or(self.window);
        self.next_look = Some(now.after(schedule::info_delay(retry_after)).0);
    }
}

/// Whether no delay leads to this time: a server whose clock was wrong has kept it.
fn is_absurd(at: u64, now: UnixTime) -> bool {
    now.after(LONGEST_DELAY).0 < at
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio_rustls::rustls::sign::CertifiedKey;

    use super::*;
    use crate::certificates::CertificateFacts;
    use crate::certificates::library::provider;

    const DAY: u64 = 24 * 60 * 60;
    const NOW: UnixTime = UnixTime(1_700_000_000);
    const DIRECTORY: &str = "https://ca.test/dir";

    fn origin() -> Origin {
        Origin::parse("s.example.com").unwrap()
    }

    /// A certificate of ninety days from now.
    fn certificate() -> Certificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["s.example.com".into()]).unwrap();
        params.not_before = OffsetDateTime::UNIX_EPOCH;
        let der = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        let key = provider().key_provider.load_private_key(key).unwrap();
        Certificate {
            directory: DIRECTORY.into(),
            order: "https://ca.test/order/1".into(),
            facts: CertificateFacts {
                serial: "01".into(),
                issuer: "CA".into(),
                not_before: NOW,
                not_after: NOW.after(90 * DAY),
            },
            identifier: None,
            certified: Arc::new(CertifiedKey::new(vec![der], key)),
        }
    }

    fn due(state: &ZoneState, certificate: Option<&Certificate>, now: UnixTime) -> Due {
        state.due(&origin(), certificate, DIRECTORY, now)
    }

    #[test]
    fn what_is_due() {
        let certificate = certificate();
        let mut state = ZoneState::default();
        assert_eq!(due(&state, None, NOW), Due::Order);
        assert_eq!(due(&state, Some(&certificate), NOW), Due::Look);
        state.look(NOW, None, Some(6 * 60 * 60));
        assert_eq!(due(&state, Some(&certificate), NOW), Due::Nothing);
        assert_eq!(due(&state, Some(&certificate), NOW.after(DAY)), Due::Look);
        let late = NOW.after(64 * DAY);
        assert_eq!(due(&state, Some(&certificate), late), Due::Order);
        // RFC 9773 §4.2.
        let window = Window {
            start: NOW.0 + 10 * DAY,
            end: NOW.0 + 11 * DAY,
        };
        state.look(NOW, Some(window), None);
        let early = NOW.after(11 * DAY);
        assert_eq!(due(&state, Some(&certificate), early), Due::Order);
        // A look that fails keeps the window.
        state.look(NOW, None, None);
        assert_eq!(state.window, Some(window));
        // Another directory than before: for example that for tests, before.
        let other = "https://other.test/dir";
        let state = ZoneState::default();
        assert_eq!(
            state.due(&origin(), Some(&certificate), other, NOW),
            Due::Order
        );
    }

    #[test]
    fn failures_delay_and_successes_forget_them() {
        let certificate = certificate();
        let mut state = ZoneState::default();
        state.begin(NOW, DIRECTORY);
        assert!(state.is_under_way(NOW.after(LONGEST_ATTEMPT - 1)));
        assert!(!state.is_under_way(NOW.after(LONGEST_ATTEMPT)));
        let failure = Failure::new(FailureKind::Challenge, "why");
        state.fail(&origin(), NOW, &failure);
        assert!(!state.is_under_way(NOW));
        assert_eq!(due(&state, None, NOW.after(14 * 60)), Due::Nothing);
        assert_eq!(due(&state, None, NOW.after(18 * 60)), Due::Order);
        state.fail(&origin(), NOW, &failure);
        assert_eq!(due(&state, None, NOW.after(18 * 60)), Due::Nothing);
        // The clock of the server that failed was a year ahead.
        let mut early = state.clone();
        early.fail(&origin(), NOW.after(365 * DAY), &failure);
        assert_eq!(due(&early, None, NOW), Due::Order);
        let late = NOW.after(85 * DAY);
        assert_eq!(due(&early, Some(&certificate), late), Due::Order);
        early.look(NOW.after(365 * DAY), None, None);
        assert_eq!(due(&early, Some(&certificate), NOW), Due::Look);
        state.force();
        assert_eq!(due(&state, None, NOW), Due::Order);
        assert_eq!(due(&state, Some(&certificate), NOW), Due::Order);
        state.succeed(NOW, certificate.facts.not_after);
        assert_eq!((state.failures, state.failure.as_ref()), (0, None));
        assert!(!state.is_forced);
        // Not even a window that has passed makes the server order again at once.
        let window = Window {
            start: NOW.0 - 2,
            end: NOW.0 - 1,
        };
        state.look(NOW, Some(window), None);
        assert_eq!(due(&state, Some(&certificate), NOW.after(60)), Due::Nothing);
        assert_eq!(due(&state, Some(&certificate), NOW.after(DAY)), Due::Order);
    }

    #[test]
    fn delays_are_those_of_a_directory() {
        let certificate = certificate();
        let other = "https://production.test/dir";
        let mut state = ZoneState::default();
        state.begin(NOW, DIRECTORY);
        state.succeed(NOW, certificate.facts.not_after);
        let later = NOW.after(60);
        let due_at = |state: &ZoneState, directory| {
            state.due(&origin(), Some(&certificate), directory, later)
        };
        assert_eq!(due_at(&state, DIRECTORY), Due::Look);
        // From the directory for tests to the one for production.
        assert_eq!(due_at(&state, other), Due::Order);
        state.force();
        state.begin(NOW, DIRECTORY);
        let limited = Failure {
            retry_after: Some(7 * DAY),
            ..Failure::new(FailureKind::RateLimit, "too many certificates")
        };
        state.fail(&origin(), NOW, &limited);
        assert_eq!(due_at(&state, other), Due::Order);
        state.begin(later, other);
        assert_eq!((state.failures, state.failure.as_ref()), (0, None));
        // A delay of the other directory holds.
        state.fail(&origin(), later, &limited);
        assert_eq!(due_at(&state, other), Due::Nothing);
    }

    #[test]
    fn states_of_other_versions_can_be_read() {
        let state: ZoneState = serde_json::from_str(r#"{"failures":3,"later":[1]}"#).unwrap();
        assert_eq!(state.failures, 3);
        assert_eq!(state.not_before, None);
    }
}
