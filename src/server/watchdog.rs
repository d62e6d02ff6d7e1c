//! Watchdog pings: the service manager restarts a server that stops sending them.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tracing::error;

use super::system::manager::ServiceManager;
use crate::dns::Pulse;

/// The shortest time between two checks of the workers. Each worker marks that it is alive within a tenth of a
/// second.
const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// Sends pings for as long as every worker is alive. Ends at once if the service manager asks for none.
pub(super) async fn ping(manager: ServiceManager, pulse: Pulse) {
    let Some(interval) = manager.beat() else {
        return;
    };
    let mut ticks = tokio::time::interval(interval.max(MIN_INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match pulse.is_there() {
            true => manager.alive().await,
            false => error!("UDP worker stalled; withholding the watchdog ping"),
        }
    }
}
