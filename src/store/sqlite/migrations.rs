//! The steps from each version of the tables to the next.

/// The steps from each schema version to the next. A published step never changes; new ones are added at the end.
pub(super) const MIGRATIONS: &[&str] =
    &[V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12, V13, V14];

/// The primary key begins with the origin, so a zone's list is a range of it; `WITHOUT ROWID` stores the links in
/// its order. The constraints on the key bind other programs, too: every key can be looked up and shown in a
/// message.
pub(super) const V1: &str = "
    CREATE TABLE link (
        origin     TEXT NOT NULL CHECK (origin <> '' AND origin NOT GLOB '*[^-._a-z0-9]*'),
        code       TEXT NOT NULL CHECK (length(code) BETWEEN 1 AND 63
                       AND code NOT GLOB '*[^-a-z0-9]*' AND code NOT GLOB '-*' AND code NOT GLOB '*-'),
        url        TEXT NOT NULL,
        created_at INTEGER NOT NULL, -- seconds since 1970, as expires_at
        created_by TEXT NOT NULL,
        expires_at INTEGER,
        ttl        INTEGER,          -- seconds
        version    INTEGER NOT NULL,
        PRIMARY KEY (origin, code)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX link_expiry ON link (expires_at) WHERE expires_at IS NOT NULL;
    CREATE TABLE meta (
        key   TEXT NOT NULL PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO meta (key, value) VALUES ('version_floor', 0);
";

/// See [`super::session`].
const V2: &str = "INSERT INTO meta (key, value) VALUES ('identity', random());";

/// See [`crate::store::document`]. With a rowid, because contents may be longer than a page.
const V3: &str = "
    CREATE TABLE document (
        key      TEXT NOT NULL PRIMARY KEY,
        revision INTEGER NOT NULL,
        content  BLOB NOT NULL
    ) STRICT;
";

/// See [`crate::link::About`]. `tags` is a JSON array. The columns are the last ones, so that a look-up for a query,
/// which needs none of them, finds the others at the beginning of a long row.
const V4: &str = "
    ALTER TABLE link ADD COLUMN title TEXT;
    ALTER TABLE link ADD COLUMN tags  TEXT;
    ALTER TABLE link ADD COLUMN note  TEXT;
";

/// See [`crate::store::audit`]. A rowid ends each key of an index, so all of them are in the order of the log.
const V5: &str = "
    CREATE TABLE audit (
        id         INTEGER PRIMARY KEY,
        at         INTEGER NOT NULL, -- milliseconds since 1970
        actor      TEXT NOT NULL,
        address    TEXT,
        request_id TEXT,
        action     TEXT NOT NULL,
        zone       TEXT,
        code       TEXT,
        token      TEXT,
        before     TEXT,             -- JSON, as after
        after      TEXT
    ) STRICT;
    CREATE INDEX audit_time ON audit (at);
    CREATE INDEX audit_actor ON audit (actor, at);
    CREATE INDEX audit_code ON audit (code, at) WHERE code IS NOT NULL;
";

/// A number for each link, which the text index needs, and the host of its URL. The expressions for the host are those
/// of [`TargetUrl::host`](crate::link::TargetUrl::host). Virtual columns take no room, except in an index.
const V6: &str = "
    ALTER TABLE link ADD COLUMN id INTEGER;
    CREATE TABLE numbered (origin TEXT, code TEXT, id INTEGER, PRIMARY KEY (origin, code)) STRICT, WITHOUT ROWID;
    INSERT INTO numbered SELECT origin, code, row_number() OVER () FROM link ORDER BY origin, code;
    UPDATE link SET id = (SELECT id FROM numbered WHERE origin = link.origin AND code = link.code);
    DROP TABLE numbered;
    ALTER TABLE link ADD COLUMN authority TEXT GENERATED ALWAYS AS (
        substr(substr(url, instr(url, '://') + 3), 1,
            instr(substr(url, instr(url, '://') + 3) || '/', '/') - 1)) VIRTUAL;
    ALTER TABLE link ADD COLUMN host TEXT GENERATED ALWAYS AS (CASE
        WHEN authority GLOB '[[]*' THEN substr(authority, 1, instr(authority, ']'))
        ELSE rtrim(substr(authority, 1, instr(authority || ':', ':') - 1), '.') END) VIRTUAL;
";

/// The indexes of [`super::search`]. Each of them continues with the rest of the primary key, so they alone answer where
/// the links of a list are.
const V7: &str = "
    CREATE UNIQUE INDEX link_id ON link (id, created_at);
    CREATE INDEX link_created ON link (origin, created_at);
    CREATE INDEX link_creator ON link (origin, created_by, created_at);
    CREATE TABLE link_tag (
        origin     TEXT NOT NULL,
        tag        TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        code       TEXT NOT NULL,
        PRIMARY KEY (origin, tag, created_at, code)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO link_tag SELECT origin, value, created_at, code FROM link,
        json_each(CASE WHEN json_valid(tags) THEN tags ELSE '[]' END) WHERE tags IS NOT NULL;
";

/// The text index, which has no copy of the texts; see [`super::indexing`]. The triggers keep everything right also if
/// another program changes links. They say `ON CONFLICT DO NOTHING`, because the statement that fires a trigger overrides
/// an `OR IGNORE` in it.
const V8: &str = "
    CREATE VIRTUAL TABLE link_text USING fts5 (
        text, content = '', contentless_delete = 1, detail = 'none', tokenize = 'trigram');
    CREATE TABLE link_todo (id INTEGER PRIMARY KEY) STRICT;
    INSERT INTO link_todo SELECT id FROM link;

    CREATE TRIGGER link_numbered AFTER INSERT ON link WHEN new.id IS NULL BEGIN
        UPDATE link SET id = (SELECT coalesce(max(id), 0) + 1 FROM link)
            WHERE origin = new.origin AND code = new.code;
    END;
    CREATE TRIGGER link_text_new AFTER INSERT ON link WHEN new.id IS NOT NULL BEGIN
        INSERT INTO link_todo VALUES (new.id) ON CONFLICT DO NOTHING;
    END;
    CREATE TRIGGER link_text_changed AFTER UPDATE OF id, url, title, code ON link
        WHEN new.id IS NOT old.id OR new.url IS NOT old.url OR new.title IS NOT old.title OR new.code IS NOT old.code
    BEGIN
        INSERT INTO link_todo SELECT old.id WHERE old.id IS NOT NULL ON CONFLICT DO NOTHING;
        INSERT INTO link_todo SELECT new.id WHERE new.id IS NOT NULL ON CONFLICT DO NOTHING;
    END;
    CREATE TRIGGER link_text_gone AFTER DELETE ON link WHEN old.id IS NOT NULL BEGIN
        INSERT INTO link_todo VALUES (old.id) ON CONFLICT DO NOTHING;
    END;

    CREATE TRIGGER link_tag_new AFTER INSERT ON link WHEN new.tags IS NOT NULL BEGIN
        INSERT INTO link_tag SELECT new.origin, value, new.created_at, new.code
            FROM json_each(CASE WHEN json_valid(new.tags) THEN new.tags ELSE '[]' END) WHERE type = 'text'
            ON CONFLICT DO NOTHING;
    END;
    CREATE TRIGGER link_tag_changed AFTER UPDATE OF origin, code, created_at, tags ON link
        WHEN new.tags IS NOT old.tags OR new.created_at IS NOT old.created_at
            OR new.origin IS NOT old.origin OR new.code IS NOT old.code
    BEGIN
        DELETE FROM link_tag WHERE (origin, tag, created_at, code) IN (
            SELECT old.origin, value, old.created_at, old.code
            FROM json_each(CASE WHEN json_valid(old.tags) THEN old.tags ELSE '[]' END));
        INSERT INTO link_tag SELECT new.origin, value, new.created_at, new.code
            FROM json_each(CASE WHEN json_valid(new.tags) THEN new.tags ELSE '[]' END) WHERE type = 'text'
            ON CONFLICT DO NOTHING;
    END;
    CREATE TRIGGER link_tag_gone AFTER DELETE ON link WHEN old.tags IS NOT NULL BEGIN
        DELETE FROM link_tag WHERE (origin, tag, created_at, code) IN (
            SELECT old.origin, value, old.created_at, old.code
            FROM json_each(CASE WHEN json_valid(old.tags) THEN old.tags ELSE '[]' END));
    END;
";

/// See [`crate::store::idempotency`]. With a rowid, because outcomes may be longer than a page. A claim without an
/// outcome is in work until `lease_until`, in seconds since 1970 as `ends_at`.
const V9: &str = "
    CREATE TABLE idempotency (
        id          BLOB NOT NULL PRIMARY KEY,
        fingerprint BLOB NOT NULL,
        holder      INTEGER NOT NULL,
        lease_until INTEGER NOT NULL,
        ends_at     INTEGER NOT NULL,
        outcome     BLOB
    ) STRICT;
    CREATE INDEX idempotency_end ON idempotency (ends_at);
    CREATE INDEX idempotency_lease ON idempotency (lease_until) WHERE outcome IS NULL;
    CREATE TABLE idempotency_count (
        caller  BLOB NOT NULL,
        day     INTEGER NOT NULL, -- since 1970-01-01
        claimed INTEGER NOT NULL,
        PRIMARY KEY (caller, day)
    ) STRICT, WITHOUT ROWID;
";

/// See [`crate::link::Withheld`], as JSON. Few links have it, so the index is small.
const V10: &str = "
    ALTER TABLE link ADD COLUMN withheld TEXT;
    CREATE INDEX link_withheld ON link (origin, created_at) WHERE withheld IS NOT NULL;
";

/// Searches for one or two characters, and the audit log by action. The text index is made anew, because its texts end with
/// two more characters now, see [`super::indexing`]; `link_part` shows the trigrams in it, and takes no room.
///
/// Hosts are in a table as tags are: SQLite looks up the row for each entry of an index of a column that it computes, and
/// the search needs the entries alone. (For a time, V7 made such an index.)
const V11: &str = "
    INSERT INTO link_text (link_text) VALUES ('delete-all');
    INSERT INTO link_todo SELECT id FROM link WHERE true ON CONFLICT DO NOTHING;
    CREATE VIRTUAL TABLE link_part USING fts5vocab (link_text, 'instance');

    CREATE INDEX audit_action ON audit (action, at);
    DROP INDEX link_expiry;
    CREATE INDEX link_expiry ON link (expires_at, created_at) WHERE expires_at IS NOT NULL;

    DROP INDEX IF EXISTS link_host;
    CREATE TABLE link_host (
        origin     TEXT NOT NULL,
        host       TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        code       TEXT NOT NULL,
        PRIMARY KEY (origin, host, created_at, code)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO link_host SELECT origin, host, created_at, code FROM link ORDER BY 1, 2, 3, 4;
    CREATE TRIGGER link_host_new AFTER INSERT ON link BEGIN
        INSERT INTO link_host VALUES (new.origin, new.host, new.created_at, new.code) ON CONFLICT DO NOTHING;
    END;
    CREATE TRIGGER link_host_changed AFTER UPDATE OF origin, code, url, created_at ON link
        WHEN new.host IS NOT old.host OR new.created_at IS NOT old.created_at
            OR new.origin IS NOT old.origin OR new.code IS NOT old.code
    BEGIN
        DELETE FROM link_host WHERE origin = old.origin AND host = old.host
            AND created_at = old.created_at AND code = old.code;
        INSERT INTO link_host VALUES (new.origin, new.host, new.created_at, new.code) ON CONFLICT DO NOTHING;
    END;
    CREATE TRIGGER link_host_gone AFTER DELETE ON link BEGIN
        DELETE FROM link_host WHERE origin = old.origin AND host = old.host
            AND created_at = old.created_at AND code = old.code;
    END;
";

/// See [`super::statistics`]. An index of a table without rowids ends with the rest of the primary key. A link that is made
/// over one that has ended gets another `created_at`, and begins with sums of its own.
const V12: &str = "
    CREATE TABLE statistics_zone (
        id     INTEGER PRIMARY KEY,
        origin TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE statistics (
        zone    INTEGER NOT NULL,
        code    TEXT NOT NULL,    -- empty for the zone itself
        unit    INTEGER NOT NULL, -- 0: an hour, 1: a day, 2: a month, 3: all time
        start   INTEGER NOT NULL, -- hours since 1970
        lookups INTEGER NOT NULL, -- of all kinds
        clicks  INTEGER NOT NULL, -- of persons
        others  TEXT,             -- JSON: the other sums
        PRIMARY KEY (zone, code, unit, start)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX statistics_age ON statistics (unit, start) WHERE unit < 2;
    CREATE INDEX statistics_lookups ON statistics (zone, unit, start, lookups DESC, code)
        WHERE unit > 0 AND code <> '' AND lookups > 0;
    CREATE INDEX statistics_clicks ON statistics (zone, unit, start, clicks DESC, code)
        WHERE unit > 0 AND code <> '' AND clicks > 0;
    CREATE TABLE statistics_batch (
        server TEXT NOT NULL PRIMARY KEY,
        number INTEGER NOT NULL,  -- of its last batch
        at     INTEGER NOT NULL   -- seconds since 1970
    ) STRICT, WITHOUT ROWID;

    CREATE TRIGGER link_statistics_gone AFTER DELETE ON link
        WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'statistics_of_deleted' AND value > 0)
    BEGIN
        DELETE FROM statistics WHERE code = old.code
            AND zone = (SELECT id FROM statistics_zone WHERE origin = old.origin);
    END;
    CREATE TRIGGER link_statistics_renewed AFTER UPDATE OF origin, code, created_at ON link
        WHEN (new.created_at IS NOT old.created_at OR new.origin IS NOT old.origin OR new.code IS NOT old.code)
            AND NOT EXISTS (SELECT 1 FROM meta WHERE key = 'statistics_of_deleted' AND value > 0)
    BEGIN
        DELETE FROM statistics WHERE code = old.code
            AND zone = (SELECT id FROM statistics_zone WHERE origin = old.origin);
    END;
";

/// See [`crate::store::upkeep`]. Rankings have columns of their own, and nothing is found by its age.
const V13: &str = "
    DROP INDEX statistics_age;
    DROP INDEX statistics_lookups;
    DROP INDEX statistics_clicks;
    -- lookups and clicks as the rankings have them
    ALTER TABLE statistics ADD COLUMN lookups_ranked INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE statistics ADD COLUMN clicks_ranked INTEGER NOT NULL DEFAULT 0;
    UPDATE statistics SET lookups_ranked = lookups, clicks_ranked = clicks WHERE unit > 0 AND code <> '';
    CREATE INDEX statistics_lookups ON statistics (zone, unit, start, lookups_ranked DESC, code)
        WHERE unit > 0 AND code <> '' AND lookups_ranked > 0;
    CREATE INDEX statistics_clicks ON statistics (zone, unit, start, clicks_ranked DESC, code)
        WHERE unit > 0 AND code <> '' AND clicks_ranked > 0;
";

/// See [`crate::link::Destinations`], as JSON. Few links have it. Searches look for all URLs of a link.
const V14: &str = "
    ALTER TABLE link ADD COLUMN destinations TEXT;
    CREATE TRIGGER link_destinations_changed AFTER UPDATE OF destinations ON link
        WHEN new.destinations IS NOT old.destinations AND new.id IS NOT NULL
    BEGIN
        INSERT INTO link_todo VALUES (new.id) ON CONFLICT DO NOTHING;
    END;
";
