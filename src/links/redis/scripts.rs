//! What is decided inside Redis, each in one round trip. See [`super`] for how the steps fit together.
//!
//! Every script has one key, so that all of them run in a cluster as well, and looks at what is held
//! by its beginning, as [`super::value`] writes it. Whatever else stands there, of any type, counts as
//! nothing and is replaced.

use std::sync::LazyLock;
use std::time::Duration;

use redis::Script;

use super::mark::Era;

/// `held` is the text, or false where there is none that this program could have written; `kind` is
/// the field that tells what it is, and `version` a number (exact below 2^53, as versions are; a higher
/// one is nonsense). The last argument of every script is an [`Era`]: when the server was started, in
/// seconds since the epoch, and the mark of the store. What was put before comes from a file, and may be
/// older than what was told since; what bears another mark is of another store, or of a state of this one
/// that was undone. `claim` is the text without the state that a writer's claim carries.
///
/// `put` is for a server that is full and may not evict: that one refuses what takes room, and lets
/// things be dropped. What cannot be put is dropped, which is the same as if it had been evicted as soon
/// as it was put, and makes room.
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
local born, mark = string.match(ARGV[#ARGV], '^(%d+) (%x+)$')
if kind and string.sub(held, -25) ~= ',"of":"' .. mark .. '"}' then
  held, kind, version = false, nil, 0
end
if kind == 'url' or kind == 'absent' then
  local put = tonumber(string.match(held, '"at":(%d+),"of":"%x+"}$')) or 0
  if put < tonumber(born) then held, kind = false, nil end
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
}

script!(
    /// A reader's claim on a name of which nothing is held. ARGV: claim, its life in ms. 1 if it got it.
    READ,
    r#"
if held then return 0 end
return put(ARGV[1], ARGV[2])
"#
);

script!(
    /// Puts what was read, if the reader's claim still stands. ARGV: claim, text, life in ms.
    FILL,
    r#"
if held ~= ARGV[1] then return 0 end
return put(ARGV[2], ARGV[3])
"#
);

script!(
    /// A writer's claim. It carries the state that it replaces and until when that would have stood, for the
    /// case that nothing is changed. Two writers at once share one that neither can end, for nobody can tell
    /// which of them is the last; it ends by its time, and carries nothing: what one of them has replaced may
    /// be older than what another has made. ARGV: claim, life in ms, shared claim.
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
    /// Prolongs a writer's claim. ARGV: claim, life in ms. 1 if it still stands.
    HOLD,
    r#"
if claim ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"#
);

script!(
    /// Puts what a write has made. Where the claim has gone, a new value is not put in the place of
    /// nothing, of which nobody knows what it was, nor of an absence that a reader has found: only over
    /// what is older. Where another writer's claim stands, that one becomes a shared one: it may belong
    /// to an older change. ARGV: claim, text, life in ms, version, shared claim, its life in ms.
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
    /// Takes a claim back, and leaves nothing. ARGV: claim.
    RELEASE,
    r#"
if claim ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"#
);

script!(
    /// Takes a writer's claim back where nothing was changed: what it has replaced stands again, for as long
    /// as it would have. ARGV: claim.
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
    /// Drops what is older than a version, and every reader's claim; a writer's becomes a shared one, as
    /// above. ARGV: version, shared claim, its life in ms.
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
    /// Puts what the warm load has read, in the place of nothing or of something older. ARGV: text,
    /// life in ms, version.
    LOAD,
    r#"
if kind == 'reads' or kind == 'writes' then return 0 end
if held and version >= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"#
);

script!(
    /// Prolongs the lease of the warm load. ARGV: token, life in ms. 1 if it is still ours.
    RENEW,
    r#"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"#
);

script!(
    /// Gives the lease of the warm load back. ARGV: token.
    UNLOCK,
    r#"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"#
);

script!(
    /// Notes how far a part of the warm load has come, in the notes of a load that was begun: what is
    /// not there any more was lost with all that had been loaded. ARGV: part, cursor, life in ms.
    NOTE,
    r#"
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
"#
);

script!(
    /// Announces a change where the server is full and may not evict: it refuses XADD, but not behind a
    /// command that makes room in the same script. The stream is cut to a length that all nodes which
    /// follow it have read long ago. ARGV: that length, then the fields of the entry in pairs.
    ANNOUNCE,
    r#"
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[1])
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2, #ARGV - 1))
return 1
"#
);

/// A call of one of the scripts.
pub(super) struct Run {
    script: &'static LazyLock<Script>,
    key: String,
    args: Vec<String>,
}

impl Run {
    pub(super) fn new(script: &'static LazyLock<Script>, key: String, args: Vec<String>) -> Self {
        Self { script, key, args }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The script itself, for a server that does not know it yet.
    pub(super) fn script(&self) -> &'static Script {
        self.script
    }

    /// The call by the script's hash.
    pub(super) fn command(&self, era: Era) -> redis::Cmd {
        let mut command = redis::cmd("EVALSHA");
        command
            .arg(self.script.get_hash())
            .arg(1)
            .arg(&self.key)
            .arg(&self.args)
            .arg(era.to_string());
        command
    }
}

/// All of them, to be loaded when a connection is made.
pub(super) fn all() -> [&'static Script; 13] {
    [
        &READ, &FILL, &CLAIM, &HOLD, &FINISH, &RELEASE, &RESTORE, &DROP, &LOAD, &RENEW, &UNLOCK,
        &NOTE, &ANNOUNCE,
    ]
}

/// A life as Redis takes it, in milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
