//! The gatherer of statistics for a store that charges for each write; see [`crate::store::statistics::gathering`].
//!
//! | key, after the prefix | content |
//! |---|---|
//! | `{statistics:<mark>}:open` | a hash, the accumulator: `id`, `at` (microseconds by the clock of the Redis server), and a field for each sum |
//! | `{statistics:<mark>}:closed` | the accumulator that is being flushed |
//! | `{statistics:<mark>}:floor` | the highest id of an accumulator that has ended |
//! | `{statistics:<mark>}:servers` | a hash: for each server, the number of its last batch and the time of it in milliseconds; for [`NUMBERS_KEPT`] |
//! | `{statistics:<mark>}:flusher` | the lease |
//!
//! The field of a sum is `<hour> <name> <counter>`, the hour in seconds since the epoch. The keys have one hash tag, so they are in
//! one slot of a cluster. The mark of the store is part of it, so a store never gets the counts of another one, or of a history
//! that was undone.
//!
//! The accumulators are large and have no TTL. With `allkeys-*` Redis may evict one; the servers then count its sums as dropped.
//! Only the lease has a TTL, so with `volatile-*` Redis evicts no counts, and no number of a server: without its number the counts
//! of a server would seem to be lost.
//!
//! The id of an accumulator is in the accumulator itself. If a replica takes over that lacks the end of a flush, or its begin, the
//! accumulator comes back under the same id, and what was written of it is not written again. Servers [know](Known) that it was
//! closed, and add nothing to it.

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;

use super::RedisCache;
use super::scripts::{Run, millis};
use super::terms::Failure;
use crate::base::clock::UnixTime;
use crate::link::LinkName;
use crate::store::StoreError;
use crate::store::servers::Label;
use crate::store::statistics::gathering::{
    Accumulator, FlushId, FlushLease, GatherState, Gathered, Gatherer, Known, LEASE, MAX_SUMS, Sums,
};
use crate::store::statistics::{Batch, Counter, NUMBERS_KEPT, Row, StatisticsStore};

/// The name of these calls in metrics.
const CALL: &str = "statistics";
/// About how many sums one page of an accumulator has.
const PAGE: usize = 1_000;
/// How often one page is asked for.
const TRIES: u32 = 5;
/// The pause before the second time; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// KEYS: open, closed, floor, numbers of the servers. ARGV: the server, number, whether a gap does not matter (`1`, or empty), the
/// most sums, the id up to which accumulators have ended, the id up to which they were closed, then fields and counts. A
/// validity follows, as with all scripts. Returns what became of the batch and the id of its accumulator.
///
/// Once a script has written, Redis refuses none of its commands for want of memory. So a server that is full refuses all of the
/// batch or nothing. Without the right to HSET, it fails before it adds anything.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
local number = tonumber(ARGV[2])
local last = tonumber(string.match(redis.call('HGET', KEYS[4], ARGV[1]) or '0', '^%d+'))
local open = redis.call('HGET', KEYS[1], 'id') or '0'
local closed = redis.call('HGET', KEYS[2], 'id') or '0'
if last >= number then return {'before', open ~= '0' and open or closed} end
if last + 1 ~= number and ARGV[3] == '' then return {'gap', open} end
local now = redis.call('TIME')
if #ARGV > 7 then
  local floor = math.max(tonumber(redis.call('GET', KEYS[3]) or '0'), tonumber(ARGV[5]))
  if open ~= '0' and tonumber(open) <= floor then
    redis.call('DEL', KEYS[1])
    redis.call('SET', KEYS[3], string.format('%.0f', floor))
    open = '0'
  elseif open ~= '0' and tonumber(open) <= tonumber(ARGV[6]) then
    if closed ~= '0' then return {'full', open} end
    redis.call('RENAME', KEYS[1], KEYS[2])
    closed, open = open, '0'
  end
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return {'full', open} end
  local at = tonumber(now[1]) * 1000000 + tonumber(now[2])
  if open == '0' then
    open = string.format('%.0f', math.max(at, floor + 1, tonumber(closed) + 1, tonumber(ARGV[6]) + 1))
    redis.call('HSET', KEYS[1], 'at', string.format('%.0f', at))
  end
  redis.call('HSET', KEYS[1], 'id', open)
  for i = 7, #ARGV - 2, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
local at = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', at))
return {'now', open}
"#,
    )
});

/// KEYS: open, closed, floor, numbers of the servers. ARGV: a server. Returns id, age in µs and number of sums of the open
/// accumulator, the same of the closed one, the floor, and the number of the server.
static STATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
local now = redis.call('TIME')
local clock = tonumber(now[1]) * 1000000 + tonumber(now[2])
local function look(key)
  local found = redis.call('HMGET', key, 'id', 'at')
  if not found[1] then return '0', '0', '0' end
  local age = math.max(clock - (tonumber(found[2]) or clock), 0)
  return found[1], string.format('%.0f', age), string.format('%.0f', redis.call('HLEN', key) - 2)
end
local open, open_age, open_sums = look(KEYS[1])
local closed, closed_age, closed_sums = look(KEYS[2])
return {open, open_age, open_sums, closed, closed_age, closed_sums,
  redis.call('GET', KEYS[3]) or '0', string.match(redis.call('HGET', KEYS[4], ARGV[1]) or '0', '^%d+')}
"#,
    )
});

/// KEYS: open, closed, floor. ARGV: the least floor. Returns the id of the closed accumulator; 0 if there is none.
static CLOSE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
local floor = tonumber(redis.call('GET', KEYS[3]) or '0')
if floor < tonumber(ARGV[1]) then redis.call('SET', KEYS[3], ARGV[1]) end
local closed = redis.call('HGET', KEYS[2], 'id')
if closed then return closed end
if not redis.call('HGET', KEYS[1], 'id') then return '0' end
redis.call('RENAME', KEYS[1], KEYS[2])
return redis.call('HGET', KEYS[2], 'id')
"#,
    )
});

/// KEYS: closed. ARGV: id, cursor, about how many. Returns the next cursor, then fields and counts; nothing if another accumulator
/// is closed now.
static PAGE_OF: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return {} end
local page = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
local found = {page[1]}
for i = 1, #page[2] do found[i + 1] = page[2][i] end
return found
"#,
    )
});

/// KEYS: closed. ARGV: id, then fields.
static DROP_SUMS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 0 end
for i = 2, #ARGV - 1 do redis.call('HDEL', KEYS[1], ARGV[i]) end
return 1
"#,
    )
});

/// KEYS: closed, floor, numbers of the servers. ARGV: id, the life of a number in ms. Numbers that are older go.
static END: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r#"
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 0 end
local floor = tonumber(redis.call('GET', KEYS[2]) or '0')
if floor < tonumber(ARGV[1]) then redis.call('SET', KEYS[2], ARGV[1]) end
local oldest = tonumber(redis.call('TIME')[1]) * 1000 - tonumber(ARGV[2])
local servers = redis.call('HGETALL', KEYS[3])
for i = 1, #servers, 2 do
  local at = tonumber(string.match(servers[i + 1], ' (%d+)$') or '0')
  if at < oldest then redis.call('HDEL', KEYS[3], servers[i]) end
end
return redis.call('DEL', KEYS[1])
"#,
    )
});

/// The scripts above.
pub(super) fn scripts() -> [&'static Script; 6] {
    [&ADD, &STATE, &CLOSE, &PAGE_OF, &DROP_SUMS, &END]
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::links) struct Gathering {
    /// The cache has the store, which has this.
    cache: Weak<RedisCache>,
}

impl Gathering {
    /// Has a store gather its statistics in this Redis, if it gathers them.
    pub(in crate::links) fn offer(cache: &Arc<RedisCache>, statistics: &dyn StatisticsStore) {
        let gathering = Arc::new(Self {
            cache: Arc::downgrade(cache),
        });
        if statistics.gather_with(gathering) {
            cache.client.will_gather();
        }
    }

    fn cache(&self) -> Result<Arc<RedisCache>, StoreError> {
        self.cache.upgrade().ok_or_else(|| failed(Failure::Skipped))
    }
}

impl RedisCache {
    fn sums_key(&self, what: &str) -> String {
        let mark = self.mark();
        self.keys.other(&format!("{{statistics:{mark}}}:{what}"))
    }

    /// A call of a script with the keys of these names.
    fn sums_run(&self, script: &'static LazyLock<Script>, keys: &[&str], args: Vec<String>) -> Run {
        let mut keys = keys.iter().map(|key| self.sums_key(key));
        let first = keys.next().unwrap_or_default();
        Run::new(script, first, args).with_keys(keys)
    }

    async fn run_sums<T: redis::FromRedisValue>(&self, run: &Run) -> Result<T, StoreError> {
        self.client.run_as(CALL, run).await.map_err(failed)
    }

    /// One page of the closed accumulator; none if it is another one now.
    async fn page(&self, id: FlushId, cursor: &str) -> Result<Option<Vec<String>>, StoreError> {
        let args = vec![id.0.to_string(), cursor.to_owned(), PAGE.to_string()];
        let run = self.sums_run(&PAGE_OF, &["closed"], args);
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            if let Ok(page) = self.run_sums::<Vec<String>>(&run).await {
                return Ok((!page.is_empty()).then_some(page));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let page: Vec<String> = self.run_sums(&run).await?;
        Ok((!page.is_empty()).then_some(page))
    }
}

#[async_trait]
impl Gatherer for Gathering {
    async fn add(
        &self,
        batch: &Batch,
        known: Known,
        after_gap: bool,
    ) -> Result<Gathered, StoreError> {
        let cache = self.cache()?;
        let mut args = vec![
            batch.server.to_string(),
            batch.number.to_string(),
            if after_gap { "1" } else { "" }.to_owned(),
            MAX_SUMS.to_string(),
            known.ended.to_string(),
            known.closed.to_string(),
        ];
        for row in &batch.rows {
            args.extend([field(row), row.count.to_string()]);
        }
        let run = cache.sums_run(&ADD, &["open", "closed", "floor", "servers"], args);
        let (what, id): (String, String) = cache.run_sums(&run).await?;
        let id = flush_id(&id).filter(|_| !batch.rows.is_empty());
        match what.as_str() {
            "now" => Ok(Gathered::Now(id)),
            "before" => Ok(Gathered::Before(id)),
            "gap" => Ok(Gathered::Gap),
            "full" => Ok(Gathered::Full),
            other => Err(nonsense(other)),
        }
    }

    async fn state(&self, server: Option<&Label>) -> Result<GatherState, StoreError> {
        let cache = self.cache()?;
        let server = server.map(Label::to_string).unwrap_or_default();
        let keys = ["open", "closed", "floor", "servers"];
        let run = cache.sums_run(&STATE, &keys, vec![server]);
        let found: Vec<String> = cache.run_sums(&run).await?;
        let numbers: Option<Vec<u64>> = found.iter().map(|text| text.parse().ok()).collect();
        let Some(
            [
                open,
                open_age,
                open_sums,
                closed,
                closed_age,
                closed_sums,
                floor,
                last,
            ],
        ) = numbers.as_deref()
        else {
            return Err(nonsense(&found.join(" ")));
        };
        let accumulator = |id: &u64, age: &u64, sums: &u64| {
            (*id != 0).then_some(Accumulator {
                id: FlushId(*id),
                sums: *sums,
                age: Duration::from_micros(*age),
            })
        };
        Ok(GatherState {
            open: accumulator(open, open_age, open_sums),
            closed: accumulator(closed, closed_age, closed_sums),
            floor: *floor,
            last: *last,
        })
    }

    async fn take_lease(&self) -> Result<Option<FlushLease>, StoreError> {
        let cache = self.cache()?;
        let (key, token) = (cache.sums_key("flusher"), cache.token());
        let taken = cache.set_lease(CALL, key, token, LEASE).await;
        let lease = taken.map_err(failed)?;
        Ok(lease.map(|lease| FlushLease(lease.token().into())))
    }

    async fn renew_lease(&self, lease: &FlushLease) -> Result<bool, StoreError> {
        let cache = self.cache()?;
        let lease = super::Lease::of(cache.sums_key("flusher"), &lease.0);
        cache.renew_lease(CALL, &lease, LEASE).await.map_err(failed)
    }

    async fn give_back(&self, lease: FlushLease) {
        if let Ok(cache) = self.cache() {
            let lease = super::Lease::of(cache.sums_key("flusher"), &lease.0);
            // If this fails, the lease expires.
            let _ = cache.give_back(CALL, lease).await;
        }
    }

    async fn close(&self, floor: u64) -> Result<Option<FlushId>, StoreError> {
        let cache = self.cache()?;
        let keys = ["open", "closed", "floor"];
        let run = cache.sums_run(&CLOSE, &keys, vec![floor.to_string()]);
        let id: String = cache.run_sums(&run).await?;
        Ok(flush_id(&id))
    }

    async fn sums(&self, id: FlushId) -> Result<Sums, StoreError> {
        let cache = self.cache()?;
        let mut sums = Sums::new();
        let mut cursor = "0".to_owned();
        loop {
            let Some(page) = cache.page(id, &cursor).await? else {
                let text = "the accumulator in Redis is another one now";
                return Err(StoreError::Unavailable(text.into()));
            };
            let (next, fields) = page.split_first().ok_or_else(|| nonsense(""))?;
            let (pairs, _) = fields.as_chunks::<2>();
            for [field, count] in pairs {
                match row(field, count) {
                    Some(row) => _ = sums.insert(field.as_str().into(), row),
                    None if matches!(field.as_str(), "id" | "at") => {}
                    None => tracing::warn!(field, count, "a sum in Redis is no sum of statistics"),
                }
            }
            if next == "0" {
                return Ok(sums);
            }
            cursor.clone_from(next);
        }
    }

    async fn drop_sums(&self, id: FlushId, keys: &[Box<str>]) -> Result<(), StoreError> {
        let cache = self.cache()?;
        for keys in keys.chunks(PAGE) {
            let keys = keys.iter().map(|key| key.to_string());
            let args = std::iter::once(id.0.to_string()).chain(keys).collect();
            let run = cache.sums_run(&DROP_SUMS, &["closed"], args);
            cache.run_sums::<i64>(&run).await?;
        }
        Ok(())
    }

    async fn end(&self, id: FlushId) -> Result<(), StoreError> {
        let cache = self.cache()?;
        let kept = millis(Duration::from_secs(NUMBERS_KEPT)).to_string();
        let keys = ["closed", "floor", "servers"];
        let run = cache.sums_run(&END, &keys, vec![id.0.to_string(), kept]);
        cache.run_sums::<i64>(&run).await.map(drop)
    }
}

fn flush_id(text: &str) -> Option<FlushId> {
    let id = text.parse().ok().filter(|id| *id != 0);
    id.map(FlushId)
}

/// The field of a sum.
fn field(row: &Row) -> String {
    format!("{} {} {}", row.hour, row.name, row.counter)
}

/// The sum in a field.
fn row(field: &str, count: &str) -> Option<Row> {
    let mut parts = field.splitn(3, ' ');
    Some(Row {
        hour: UnixTime(parts.next()?.parse().ok()?),
        name: LinkName::parse(parts.next()?).ok()?,
        counter: Counter::parse(parts.next()?)?,
        count: count.parse().ok().filter(|count| *count > 0)?,
    })
}

fn failed(failure: Failure) -> StoreError {
    match failure {
        Failure::Skipped => {
            StoreError::Unreachable("Redis, which gathers the statistics, is down".into())
        }
        Failure::Full => StoreError::Refused("Redis is full and takes no statistics".into()),
        Failure::Failed => StoreError::Unavailable(
            "Redis, which gathers the statistics, failed or refused a call".into(),
        ),
    }
}

fn nonsense(text: &str) -> StoreError {
    StoreError::Unavailable(format!("Redis replies {text:?} to a call for statistics"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_they_are_written() {
        for counter in ["lookup:txt", "referrer:a b.example", "country:unknown"] {
            let written = Row {
                name: LinkName::parse("a.s.example.com").unwrap(),
                hour: UnixTime(1_767_225_600),
                counter: Counter::parse(counter).unwrap(),
                count: 7,
            };
            assert_eq!(row(&field(&written), "7"), Some(written));
        }
        for (field, count) in [
            ("id", "7"),
            ("at", "7"),
            ("x a.s.example.com lookup:txt", "7"),
            ("0 a.s.example.com lookup:", "7"),
            ("0 a.s.example.com lookup:txt", "0"),
            ("0 a.s.example.com lookup:txt", "-1"),
        ] {
            assert_eq!(row(field, count), None, "{field} {count}");
        }
    }
}
