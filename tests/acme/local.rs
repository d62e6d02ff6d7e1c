//! A server in this process, whose clock the test moves.

use std::time::Duration;

use tinyns::base::clock::{Clock, UnixTime};
use tinyns::certificates::acme::{Acme, CertificateState, CertificateStatus};
use tinyns::config::Config;
use tinyns::server::system::handed::Handed;
use tinyns::server::{Running, Sockets, StartError, start};
use tokio::runtime::Runtime;

use crate::harness::{PATIENCE, Setup, eventually, http};

pub struct Local {
    running: Option<Running>,
    runtime: Runtime,
    pub clock: Clock,
    pub setup: Setup,
}

impl Local {
    pub fn start(setup: Setup) -> Self {
        let clock = Clock::manual(Clock::default().now());
        Self::try_start(setup, clock).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_start(setup: Setup, clock: Clock) -> Result<Self, StartError> {
        let config = Config::load(&setup.write()).unwrap();
        let runtime = Runtime::new().unwrap();
        let sockets = Sockets::open(&config, Handed::default()).unwrap();
        let running = runtime.block_on(start(config, sockets, clock.clone()))?;
        Ok(Self {
            running: Some(running),
            runtime,
            clock,
            setup,
        })
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn acme(&self) -> &Acme {
        self.running().acme().unwrap()
    }

    /// The certificate of the only zone.
    pub fn status(&self) -> CertificateStatus {
        self.acme().status().remove(0)
    }

    pub fn order_now(&self) {
        let origin = self.status().origin;
        let by = "test".into();
        let ordered = self.acme().order_now(&origin, &by);
        self.runtime.block_on(ordered).unwrap();
    }

    pub fn reload(&self) -> bool {
        self.runtime.block_on(self.running().reload())
    }

    /// Moves its clock ahead.
    pub fn travel(&self, time: Duration) {
        self.clock.set(self.clock.now().after(time.as_secs()));
    }

    /// Moves its clock to the next attempt.
    pub fn travel_to_next(&self) {
        let next = self.status().next_attempt;
        self.clock.set(self.clock.now().max(next));
    }

    pub fn comes_to(
        &self,
        what: &str,
        holds: impl Fn(&CertificateStatus) -> bool,
    ) -> CertificateStatus {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if holds(&status) {
                return status;
            }
            assert!(std::time::Instant::now() < end, "not {what}: {status:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn gets_a_certificate(&self) -> CertificateStatus {
        self.comes_to("a certificate", |status| {
            status.state == CertificateState::Valid
        })
    }

    /// The reason of the next failure after this time.
    pub fn fails(&self, since: Option<UnixTime>) -> CertificateStatus {
        self.comes_to("a failure", |status| {
            let failure = status.failure.as_ref();
            let is_new =
                failure.is_some_and(|failure| since.is_none_or(|since| failure.at > since));
            is_new && status.state == CertificateState::Failing
        })
    }

    pub fn metrics(&self) -> String {
        let admin = self.running().admin()[0];
        http("GET", &format!("http://{admin}/metrics"), &[], None).body
    }

    pub fn comes_to_count(&self, line: &str) {
        eventually(line, PATIENCE, || {
            self.metrics().lines().any(|other| other == line)
        });
    }

    /// Stops it.
    pub fn stop(mut self) -> Setup {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running.shutdown());
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        self.setup
    }

    /// Stops it and starts it again on the same data, with the same clock.
    pub fn restart(self) -> Result<Self, StartError> {
        let clock = self.clock.clone();
        Self::try_start(self.stop(), clock)
    }
}
