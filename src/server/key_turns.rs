//! Key rollovers: at the times that the key files give, other keys begin to sign.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::dns::pipeline::handler::Handler;
use crate::links::Links;
use crate::server::notices::log_keys;
use crate::zone::ZoneSet;

/// How often the server checks whether other keys are to sign.
const KEY_TICK: Duration = Duration::from_secs(1);

/// Switches the signing keys of all signed zones when their times come. It never ends.
pub(super) async fn turn_keys(zones: Arc<ZoneSet>, handler: Handler, links: Arc<Links>) {
    let mut ticks = tokio::time::interval(KEY_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = links.now();
    let mut was_set_back = false;
    loop {
        ticks.tick().await;
        let now = links.now();
        // Signatures by a clock that was ahead may not be valid yet, so they are discarded: now, and once more at the
        // next tick, because some may have been in the making when the clock was set back.
        let is_set_back = now < last;
        let mut has_turned = is_set_back || was_set_back;
        (was_set_back, last) = (is_set_back, now);
        for (origin, signing) in zones.signings() {
            if signing.turn(now) {
                log_keys(origin, signing);
                has_turned = true;
            }
        }
        if has_turned {
            handler.zones_replaced();
        }
    }
}
