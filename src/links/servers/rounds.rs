//! The tasks that announce this server, and read what others have announced.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::place::Unknown;
use super::{FILTER_LEASE, Other, Seen, Servers};
use crate::store::servers::LiveServer;

/// How often a server announces itself, and reads the announcements, if there is nothing new.
const INTERVAL: Duration = Duration::from_secs(1);
/// The shortest pause between announcements. All servers together announce themselves at most some 500 times a second: with
/// more of them the pause is longer, by [`PAUSE_A_SERVER`] for each.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const PAUSE_A_SERVER: Duration = Duration::from_millis(2);
/// The pause after an announcement that failed.
const RETRY: Duration = Duration::from_millis(250);
/// How often the announcements are read while callers wait, and the shortest pause between reads.
const WAITING_INTERVAL: Duration = Duration::from_millis(20);
const MIN_READ_PAUSE: Duration = Duration::from_millis(2);
/// How long the withdrawal may take when the server stops.
const WITHDRAWAL_TIME: Duration = Duration::from_secs(1);

impl Servers {
    /// Announces this server, and reads the announcements, until `shutdown`. Then withdraws its announcement.
    /// `denied_for` says how long resolvers keep negative answers.
    pub(in crate::links) async fn run(
        self: Arc<Self>,
        denied_for: impl Fn() -> Duration,
        shutdown: CancellationToken,
    ) {
        tokio::select! {
            () = self.keep_posting() => {}
            () = self.keep_reading(denied_for) => {}
            () = shutdown.cancelled() => {}
        }
        let announcement = self.announcement();
        let withdrawal = self.place.withdraw(&announcement);
        match tokio::time::timeout(WITHDRAWAL_TIME, withdrawal).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot withdraw the announcement"),
            Err(_) => tracing::debug!("the withdrawal of the announcement takes too long"),
        }
    }

    async fn keep_posting(&self) {
        let mut applied = self.applied.clone();
        let mut is_announced = false;
        loop {
            applied.mark_unchanged();
            is_announced = self.announce(!is_announced).await;
            if !is_announced {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let servers = self.seen.borrow().others.len();
            let pause = PAUSE_A_SERVER * u32::try_from(servers).unwrap_or(u32::MAX);
            let pause = pause.clamp(MIN_PAUSE, INTERVAL / 2);
            tokio::time::sleep(pause).await;
            let news = async {
                tokio::select! {
                    // An error means that nothing is applied any more.
                    Ok(()) = applied.changed() => {}
                    () = self.post.notified() => {}
                    else => std::future::pending().await,
                }
            };
            let _ = tokio::time::timeout(INTERVAL - pause, news).await;
        }
    }

    /// Announces this server. Whether that worked.
    async fn announce(&self, is_new: bool) -> bool {
        let began = Instant::now();
        let announcement = self.announcement();
        match self.place.announce(&announcement, is_new).await {
            Ok(()) => {
                if announcement.filter_denies {
                    self.count_filter_until(began + FILTER_LEASE);
                }
                true
            }
            Err(error) => {
                tracing::debug!(%error, "cannot announce this server");
                false
            }
        }
    }

    /// Notes that others wait for this server's filter until then, unless the filter has given up meanwhile.
    fn count_filter_until(&self, until: Instant) {
        let nanos = until.saturating_duration_since(self.began).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.filter_counts_until.store(nanos, Ordering::Release);
        if !self.filter_denies.load(Ordering::Acquire) {
            self.filter_counts_until.store(0, Ordering::Release);
        }
    }

    async fn keep_reading(&self, denied_for: impl Fn() -> Duration) {
        loop {
            self.own.denials.turn(denied_for(), Instant::now());
            self.read().await;
            tokio::time::sleep(MIN_READ_PAUSE).await;
            let is_awaited = self.waiting.load(Ordering::Acquire) > 0;
            let news = async {
                match is_awaited {
                    true => self.place.news().await,
                    false => std::future::pending().await,
                }
            };
            let interval = match is_awaited {
                true => WAITING_INTERVAL,
                false => INTERVAL,
            };
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.read.notified() => {}
                () = news => {}
            }
        }
    }

    /// Reads the announcements, and the end of the changes if a caller waits for it.
    async fn read(&self) {
        let began = Instant::now();
        if let Some(position) = &*self.applied.borrow() {
            self.history().note(began, position);
        }
        let is_awaited = self.waiting.load(Ordering::Acquire) > 0;
        let end = async {
            match is_awaited {
                true => self.place.end().await,
                false => Ok(None),
            }
        };
        let (end, servers) = tokio::join!(end, self.place.servers());
        let failure = end.as_ref().err().or(servers.as_ref().err());
        if let Some(error) = failure {
            tracing::debug!(%error, "cannot read the announcements of servers");
        }
        let has_failed = failure.is_some();
        let last = self.seen.borrow().clone();
        let seen = match servers {
            Ok(servers) => self.seen_now(began, servers, &last),
            Err(_) => last.again(began),
        };
        let unknown = match has_failed {
            true => Some(Unknown::Unreachable),
            false => self.place.unknown_after_read(),
        };
        self.seen.send_replace(Arc::new(Seen {
            end: end.ok().flatten(),
            unknown,
            ..seen
        }));
    }

    /// What was read by a read that began then.
    fn seen_now(&self, began: Instant, servers: Vec<LiveServer>, last: &Seen) -> Seen {
        let now = Instant::now();
        let known = |id| last.others.iter().find(|other| other.announcement.id == id);
        let others = servers.into_iter();
        let others = others.filter(|server| server.announcement.id != self.id);
        let others: Vec<_> = others
            .map(|LiveServer { announcement, left }| Other {
                since: known(announcement.id.clone()).map_or(now, |other| other.since),
                until: now + left,
                announcement,
            })
            .collect();
        let is_there = |last: &Other| {
            let id = &last.announcement.id;
            others.iter().any(|other| other.announcement.id == *id)
        };
        let gone = match last.others.iter().all(is_there) {
            true => last.gone,
            false => Some(now),
        };
        Seen {
            began,
            others,
            end: None,
            unknown: None,
            gone,
        }
    }
}

impl Seen {
    /// The same after a read that failed.
    fn again(&self, began: Instant) -> Self {
        let others = self.others.iter().map(|other| Other {
            announcement: other.announcement.clone(),
            ..*other
        });
        Self {
            began,
            others: others.collect(),
            end: None,
            unknown: None,
            gone: self.gone,
        }
    }
}
