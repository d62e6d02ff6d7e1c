//! The scripts: what is decided inside Redis, each in one round trip. [`super`] explains how they fit together.
//!
//! Every script has one key, or several with the same hash tag, so all of them run in a cluster as well. It recognises a value
//! by the beginning and the end of the text, as [`super::value`] writes them. A key of another type, or with another text, counts as
//! empty and is replaced.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::mark::Validity;

/// The beginning of every script. It sets
///
/// * `held`: the value, or false if there is none that is valid;
/// * `kind`: the field that tells the kind of the value;
/// * `version`: its version as a number (exact below 2^53; values with a higher version are not valid);
/// * `claim`: the value without the state that a write claim replaced.
///
/// The last argument of every script is a [`Validity`]: when the Redis server started, in seconds since the epoch,
/// and the mark of the store. Older values come from a file and may be outdated. Values with another mark belong
/// to another store, or to a history that was undone.
///
/// `put` sets a value. A Redis server that is full and may not evict refuses that, but lets keys be deleted. The
/// script then deletes the key, as if the new value had been evicted at once, which also makes room.
const HELD: &str = r#"
local held = redis.pcall('GET', KEYS[1])
local version, kind, claim
if type(held) == 'string' then
  version, kind = string.match(held, '^{"version":(%d+),"(%a+)":')
end
version = tonumber(version) or 0
if not kind or version > 9007199254740991 then
  held, kind = false, nil
end
local started, mark = string.match(ARGV[#ARGV], '^(%d+) (%x+)$')
if kind and string.sub(held, -25) ~= ',"of":"' .. mark .. '"}' then
  held, kind, version = false, nil, 0
end
if kind == 'url' or kind == 'absent' then
  local put = tonumber(string.match(held, '"at":(%d+),"of":"%x+"}$')) or 0
  if put < tonumber(started) then held, kind = false, nil end
end
claim = held
if kind == 'writes' then
  claim = string.match(held, '^{"version":0,"writes":"[^"]*"')
  claim = claim and claim .. ',"of":"' .. mark .. '"}'
end
local function clock()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end
local function put(text, life)
  local done = redis.pcall('SET', KEYS[1], text, 'PX', life)
  if type(done) ~= 'table' or not done.err then return 1 end
  if not string.find(done.err, 'OOM', 1, true) then
    redis.call('SET', KEYS[1], text, 'PX', life)
    return 1
  end
  redis.call('DEL', KEYS[1])
  return 0
end
"#;

macro_rules! script {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(&format!("{HELD}{}", $text)));
    };
    ($(#[$doc:meta])* $name:ident, first $first:literal, $text:literal) => {
        $(#[$doc])*
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(&format!("{}{HELD}{}", $first, $text)));
    };
}

script!(
    /// Puts a read claim if the name has no value. ARGV: claim, its life in ms. Returns 1 if it was put.
    READ,
    r#"
if held then return 0 end
return put(ARGV[1], ARGV[2])
"#
);

script!(
    /// Replaces a read claim by what was read, if that claim is still there. ARGV: claim, value, life in ms.
    FILL,
    r#"
if held ~= ARGV[1] then return 0 end
return put(ARGV[2], ARGV[3])
"#
);

script!(
    /// Puts a write claim. It contains the value that it replaces, and when that would have expired, for the case
    /// that nothing is changed. If there is a write claim already, puts a shared claim that neither node can end,
    /// because the order of the changes is unknown. The shared claim expires. It contains no value: the one
    /// that the first node replaced may be older than what the second one writes. ARGV: claim, life in ms, shared
    /// claim.
    CLAIM,
    r#"
local claim, left = ARGV[1], redis.call('PTTL', KEYS[1])
if kind == 'writes' then
  claim = ARGV[3]
elseif (kind == 'url' or kind == 'absent') and left > 0 then
  claim = string.sub(claim, 1, -26)
    .. string.format(',"until":%.0f,"old":', clock() + left) .. held .. string.sub(claim, -25)
end
local done = put(claim, ARGV[2])
return kind ~= 'writes' and done or 0
"#
);

script!(
    /// Prolongs a write claim. ARGV: claim, life in ms. Returns 1 if the claim is still there.
    HOLD,
    r#"
if claim ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"#
);

script!(
    /// Replaces a write claim by the new state. If the claim is gone, the new state replaces only an older value.
    /// It does not fill an empty key, whose last value is unknown, nor replace an absence that a reader has put.
    /// If there is the write claim of another node, it becomes a shared claim: it may belong to an older change.
    /// ARGV: claim, value, life in ms, version, shared claim, its life in ms.
    FINISH,
    r#"
if not held then return 0 end
if claim ~= ARGV[1] then
  if kind == 'writes' then
    put(ARGV[5], ARGV[6])
    return 0
  end
  if kind == 'reads' or version == 0 then
    redis.call('DEL', KEYS[1])
    return 0
  end
  if version >= tonumber(ARGV[4]) then return 0 end
end
return put(ARGV[2], ARGV[3])
"#
);

script!(
    /// Removes a claim. ARGV: claim.
    RELEASE,
    r#"
if claim ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"#
);

script!(
    /// Removes a write claim after nothing was changed: restores the value that it replaced, for the rest of that
    /// value's life. ARGV: claim.
    RESTORE,
    r#"
if claim ~= ARGV[1] then return 0 end
local stands, old = string.match(held, '^{"version":0,"writes":"[^"]*","until":(%d+),"old":(.*),"of":"%x+"}$')
local left = (tonumber(stands) or 0) - clock()
if left <= 0 then return redis.call('DEL', KEYS[1]) end
return put(old, string.format('%.0f', left))
"#
);

script!(
    /// Deletes values older than a version, and read claims. A write claim becomes a shared claim, as in `FINISH`.
    /// ARGV: version, shared claim, its life in ms.
    DROP,
    r#"
if kind == 'writes' then
  put(ARGV[2], ARGV[3])
  return 0
end
if held and kind ~= 'reads' and version >= tonumber(ARGV[1]) then return 0 end
return redis.call('DEL', KEYS[1])
"#
);

script!(
    /// Puts a link of the warm load if there is no value or an older one. ARGV: value, life in ms, version.
    /// Most names have none. For them the first line does all.
    LOAD,
    first "if redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then return 1 end",
    r#"
if kind == 'reads' or kind == 'writes' then return 0 end
if held and version >= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"#
);

script!(
    /// Prolongs a lease. ARGV: token, life in ms. Returns 1 if the token is still there.
    RENEW,
    r#"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"#
);

script!(
    /// Gives a lease back. ARGV: token.
    UNLOCK,
    r#"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"#
);

script!(
    /// Notes the progress of a part of the warm load. If the key is gone, Redis has lost the loaded links with it,
    /// and nothing is noted. ARGV: part, cursor, life in ms.
    NOTE,
    r#"
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
"#
);

script!(
    /// Announces a change if the Redis server is full and may not evict. It then refuses XADD, but not after a
    /// command that makes room in the same script. The stream is trimmed to a length that all nodes that follow it
    /// have read long ago. ARGV: that length, then the fields of the entry in pairs.
    ANNOUNCE,
    r#"
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2, #ARGV - 1))
return 1
"#
);

script!(
    /// Announces a server. PEXPIRE comes first, because a Redis server that is full and may not evict refuses HSET, but
    /// not after another command that writes. ARGV: id, announcement, its life in ms, the life of the key in ms, and how
    /// many others there may be: empty if this server is one of those that were announced before. Returns 0 if there
    /// are too many others.
    ANNOUNCE_SERVER,
    r#"
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local most = tonumber(ARGV[5])
if most and #redis.call('HGETALL', KEYS[1]) / 2 > most then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', clock() + ARGV[3]) .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"#
);

script!(
    /// The servers whose announcements count: for each how long that is, in ms, then the id and the announcement. Removes
    /// the others. ARGV: the life of the key in ms.
    SERVERS,
    r#"
local all, now = redis.call('HGETALL', KEYS[1]), clock()
local live, kept = {}, {}
for i = 1, #all, 2 do
  local until_, text = string.match(all[i + 1], '^(%d+) (.*)$')
  local left = (tonumber(until_) or 0) - now
  if left > 0 then
    live[#live + 1] = string.format('%.0f', left)
    live[#live + 1] = all[i]
    live[#live + 1] = text
    kept[#kept + 1] = all[i]
    kept[#kept + 1] = all[i + 1]
  end
end
if #kept < #all then
  redis.call('DEL', KEYS[1])
  for i = 1, #kept, 2 do redis.call('HSET', KEYS[1], kept[i], kept[i + 1]) end
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return live
"#
);

/// A call of a script.
pub(super) struct Run {
    script: &'static LazyLock<Script>,
    key: String,
    /// Further keys in the slot of the first one.
    more_keys: Vec<String>,
    args: Vec<String>,
}

impl Run {
    pub(super) fn new(script: &'static LazyLock<Script>, key: String, args: Vec<String>) -> Self {
        Self {
            script,
            key,
            more_keys: Vec::new(),
            args,
        }
    }

    /// Adds keys, which must be in the slot of the first one.
    pub(super) fn with_keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.more_keys.extend(keys);
        self
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The script itself, for a Redis server that does not have it yet.
    pub(super) fn script(&self) -> &'static Script {
        self.script
    }

    /// The call by the hash of the script.
    pub(super) fn command(&self, validity: Validity) -> redis::Cmd {
        let mut command = redis::cmd("EVALSHA");
        command
            .arg(self.script.get_hash())
            .arg(1 + self.more_keys.len())
            .arg(&self.key)
            .arg(&self.more_keys)
            .arg(&self.args)
            .arg(validity.to_string());
        command
    }
}

/// All scripts; they are loaded when a connection is made.
pub(super) fn all() -> [&'static Script; 21] {
    let [add, state, close, page, drop_sums, end] = super::gathering::scripts();
    [
        &READ,
        &FILL,
        &CLAIM,
        &HOLD,
        &FINISH,
        &RELEASE,
        &RESTORE,
        &DROP,
        &LOAD,
        &RENEW,
        &UNLOCK,
        &NOTE,
        &ANNOUNCE,
        &ANNOUNCE_SERVER,
        &SERVERS,
        add,
        state,
        close,
        page,
        drop_sums,
        end,
    ]
}

/// A duration in the unit that Redis takes: milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
