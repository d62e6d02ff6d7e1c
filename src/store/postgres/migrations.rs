//! The steps from each version of the tables to the next.
//!
//! All tables are in the schema `tinyns`. Other programs may read them, and may insert, update and delete rows of `link`:
//! triggers give each state a version, and write the changes into the [feed](super::feed).
//!
//! * Names are compared by their bytes (`COLLATE "C"`), as everywhere in tinyns.
//! * `link` holds links only. `tombstone` holds the versions of deleted ones, so that no version of a name comes again.
//!   When the tombstones are swept after a week, the version floor in `store` rises above them.
//! * The trigger functions run with the rights of the schema's owner, so that a program needs rights on `link` only.

/// The steps from each schema version to the next. A published step never changes; new ones are added at the end.
pub(super) const MIGRATIONS: &[&str] = &[V1, V2, V3, V4, V5];

/// The channel on which the triggers report that there are new changes.
pub(super) const CHANGES: &str = "tinyns_change";
/// The channel on which servers report that they have announced something.
pub(super) const SERVERS: &str = "tinyns_server";

const V1: &str = r#"
CREATE TABLE tinyns.store (
    one            boolean PRIMARY KEY DEFAULT true CHECK (one),
    schema_version integer NOT NULL,
    id             bigint NOT NULL,            -- random
    epoch          bigint NOT NULL DEFAULT 1,  -- moved on when a backup was restored
    history        bigint NOT NULL DEFAULT 0,  -- random, and another one when the place is another one
    place          text NOT NULL DEFAULT '',   -- the cluster of databases, its timeline, and the number of the table link
    version_floor  bigint NOT NULL DEFAULT 0,  -- new links without a tombstone get a higher version
    forgotten      bigint NOT NULL DEFAULT 0   -- changes by transactions below this one may have left the table change
);

CREATE TABLE tinyns.link (
    origin     text COLLATE "C" NOT NULL CHECK (origin ~ '^[-._a-z0-9]+$'),
    code       text COLLATE "C" NOT NULL CHECK (code ~ '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$'),
    url        text NOT NULL,
    created_at bigint NOT NULL DEFAULT floor(extract(epoch FROM now())), -- seconds since 1970, as expires_at
    created_by text NOT NULL DEFAULT session_user,
    expires_at bigint,
    ttl        integer,                                                  -- seconds
    version    bigint NOT NULL,                                          -- the trigger's, if it is left out
    title      text,
    tags       jsonb,                                                    -- an array of strings
    note       text,
    withheld   text,                                                     -- JSON
    PRIMARY KEY (origin, code)
);
CREATE INDEX link_created ON tinyns.link (origin, created_at, code);
CREATE INDEX link_expiry ON tinyns.link (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE tinyns.tombstone (
    origin     text COLLATE "C" NOT NULL,
    code       text COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (origin, code)
);
CREATE INDEX tombstone_age ON tinyns.tombstone (deleted_at);

CREATE TABLE tinyns.change (
    seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    txid    bigint NOT NULL DEFAULT txid_current(),
    at      timestamptz NOT NULL DEFAULT now(),
    origin  text COLLATE "C" NOT NULL,
    code    text COLLATE "C" NOT NULL,
    version bigint
);
CREATE INDEX change_txid ON tinyns.change (txid);

CREATE UNLOGGED TABLE tinyns.server (
    id            text COLLATE "C" PRIMARY KEY,
    name          text NOT NULL,
    region        text NOT NULL,
    software      text NOT NULL,           -- its version
    started       bigint NOT NULL,         -- seconds since 1970
    applied       text,                    -- a position in the feed
    filter_denies boolean NOT NULL,
    denied        text NOT NULL,
    until         timestamptz NOT NULL     -- the end of the lease
);

CREATE TABLE tinyns.document (
    key      text COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL,
    content  bytea NOT NULL
);

CREATE TABLE tinyns.notice (
    node    text COLLATE "C" PRIMARY KEY,
    number  bigint NOT NULL,
    changes text,            -- none if there are too many to name
    until   bigint NOT NULL  -- seconds since 1970
);

CREATE TABLE tinyns.idempotency_key (
    id          bytea PRIMARY KEY,
    fingerprint bytea NOT NULL,
    holder      bigint NOT NULL,
    lease_until bigint NOT NULL, -- seconds since 1970, as ends_at
    ends_at     bigint NOT NULL,
    outcome     bytea
);
CREATE INDEX idempotency_end ON tinyns.idempotency_key (ends_at);
CREATE TABLE tinyns.idempotency_count (
    caller  bytea NOT NULL,
    day     bigint NOT NULL, -- since 1970-01-01
    claimed integer NOT NULL,
    PRIMARY KEY (caller, day)
);

CREATE TABLE tinyns.audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         bigint NOT NULL, -- milliseconds since 1970
    actor      text COLLATE "C" NOT NULL,
    address    text,
    request_id text,
    action     text COLLATE "C" NOT NULL,
    zone       text COLLATE "C",
    code       text COLLATE "C",
    token      text COLLATE "C",
    before     text,            -- JSON, as after
    after      text
);
CREATE INDEX audit_time ON tinyns.audit (at, id);
CREATE INDEX audit_actor ON tinyns.audit (actor, at, id);
CREATE INDEX audit_action ON tinyns.audit (action, at, id);
CREATE INDEX audit_code ON tinyns.audit (code, at, id) WHERE code IS NOT NULL;

-- A version for a state that has none, or none of its own: a change by a program that knows nothing of versions.
CREATE FUNCTION tinyns.give_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.version := greatest(
        floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
        (SELECT version_floor + 1 FROM tinyns.store),
        (SELECT t.version + 1 FROM tinyns.tombstone t WHERE t.origin = NEW.origin AND t.code = NEW.code),
        CASE WHEN TG_OP = 'UPDATE' THEN OLD.version + 1 END);
    RETURN NEW;
END $$;
CREATE TRIGGER link_made BEFORE INSERT ON tinyns.link
    FOR EACH ROW WHEN (NEW.version IS NULL) EXECUTE FUNCTION tinyns.give_version();
CREATE TRIGGER link_changed BEFORE UPDATE ON tinyns.link
    FOR EACH ROW WHEN (NEW.version <= OLD.version OR NEW.origin <> OLD.origin OR NEW.code <> OLD.code)
    EXECUTE FUNCTION tinyns.give_version();

-- A transaction with a NOTIFY keeps all others of its kind from being committed until it is on the disk. Servers of tinyns
-- set tinyns.notifies, and send a NOTIFY for all that they have committed, in transactions that write nothing.

-- If a deletion was committed while the INSERT waited for it, the new link does not know the tombstone's version.
CREATE FUNCTION tinyns.note_made() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM made m JOIN tinyns.tombstone t ON t.origin = m.origin AND t.code = m.code
               WHERE t.version >= m.version) THEN
        RAISE EXCEPTION 'the version of a new link is not above that of the deleted link of the same name'
            USING ERRCODE = 'serialization_failure', HINT = 'Leave the version out.';
    END IF;
    INSERT INTO tinyns.change (origin, code, version) SELECT m.origin, m.code, m.version FROM made m;
    IF FOUND AND current_setting('tinyns.notifies', true) IS DISTINCT FROM 'on' THEN
        PERFORM pg_notify('tinyns_change', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER link_made_feed AFTER INSERT ON tinyns.link
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION tinyns.note_made();

-- An UPDATE may also have moved a link to another name.
CREATE FUNCTION tinyns.note_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH gone AS (
        INSERT INTO tinyns.tombstone AS t (origin, code, version)
            SELECT b.origin, b.code, b.version + 1 FROM before b
            WHERE NOT EXISTS (SELECT FROM after a WHERE a.origin = b.origin AND a.code = b.code)
        ON CONFLICT (origin, code) DO UPDATE
            SET version = greatest(t.version, excluded.version), deleted_at = excluded.deleted_at
        RETURNING t.origin, t.code, t.version)
    INSERT INTO tinyns.change (origin, code, version)
        SELECT a.origin, a.code, a.version FROM after a UNION ALL SELECT g.origin, g.code, g.version FROM gone g;
    IF FOUND AND current_setting('tinyns.notifies', true) IS DISTINCT FROM 'on' THEN
        PERFORM pg_notify('tinyns_change', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER link_changed_feed AFTER UPDATE ON tinyns.link
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION tinyns.note_changed();

-- A deletion by tinyns has written the tombstone already.
CREATE FUNCTION tinyns.note_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    WITH gone AS (
        INSERT INTO tinyns.tombstone AS t (origin, code, version)
            SELECT d.origin, d.code, d.version + 1 FROM deleted d
        ON CONFLICT (origin, code) DO UPDATE
            SET version = greatest(t.version, excluded.version), deleted_at = excluded.deleted_at
        RETURNING t.origin, t.code, t.version)
    INSERT INTO tinyns.change (origin, code, version) SELECT g.origin, g.code, g.version FROM gone g;
    IF FOUND AND current_setting('tinyns.notifies', true) IS DISTINCT FROM 'on' THEN
        PERFORM pg_notify('tinyns_change', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER link_deleted_feed AFTER DELETE ON tinyns.link
    REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION tinyns.note_deleted();

-- All names have changed: no position in the feed counts any more.
CREATE FUNCTION tinyns.note_emptied() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE tinyns.store SET
        version_floor = greatest(version_floor, (SELECT max(version) + 1 FROM tinyns.link),
            floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint),
        forgotten = txid_current() + 1;
    PERFORM pg_notify('tinyns_change', '');
    RETURN NULL;
END $$;
CREATE TRIGGER link_emptied BEFORE TRUNCATE ON tinyns.link
    FOR EACH STATEMENT EXECUTE FUNCTION tinyns.note_emptied();

-- Functions may be called by everybody unless this is said; triggers run all the same.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA tinyns FROM PUBLIC;
"#;

/// The text index; see [`super::text_index`]. The list of entries that GIN has not sorted yet is large, so that the servers
/// sort it, in transactions that write nothing, and not the transaction that adds links.
const V2: &str = r#"
CREATE TABLE tinyns.link_text (
    origin text COLLATE "C" NOT NULL,
    code   text COLLATE "C" NOT NULL,
    parts  integer[] NOT NULL,
    PRIMARY KEY (origin, code)
);
CREATE INDEX link_text_parts ON tinyns.link_text USING gin (parts) WITH (gin_pending_list_limit = 65536);
CREATE TABLE tinyns.text_index (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    cluster text NOT NULL DEFAULT '',   -- whose transaction numbers these are
    txid    bigint NOT NULL DEFAULT 0,  -- it has the changes of all transactions below this one,
    seq     bigint NOT NULL DEFAULT 0,  -- and of this one up to that change
    origin  text COLLATE "C" DEFAULT '', -- how far the walk over all links has come; NULL when it is over
    code    text COLLATE "C" DEFAULT ''
);
INSERT INTO tinyns.text_index DEFAULT VALUES;
"#;

/// See [`super::statistics`]. A link that is made over one that has ended gets another `created_at`, and begins with sums of
/// its own.
const V3: &str = r#"
-- A crash empties a table without a log. Filters deny for a second after it, so servers that make links must still find them.
ALTER TABLE tinyns.server SET LOGGED;
ALTER TABLE tinyns.store ADD COLUMN statistics_of_deleted boolean NOT NULL DEFAULT false; -- whether they are kept
CREATE TABLE tinyns.statistics_zone (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin text COLLATE "C" NOT NULL UNIQUE
);
CREATE TABLE tinyns.statistics (
    lookups bigint NOT NULL,           -- of all kinds
    clicks  bigint NOT NULL,           -- of persons
    zone    integer NOT NULL,
    start   integer NOT NULL,          -- hours since 1970
    unit    smallint NOT NULL,         -- 0: an hour, 1: a day, 2: a month, 3: all time
    code    text COLLATE "C" NOT NULL, -- empty for the zone itself
    others  text,                      -- JSON: the other sums
    PRIMARY KEY (zone, code, unit, start)
);
-- Only for the sweep: no other condition implies this one, so that no read of a link goes through it.
CREATE INDEX statistics_age ON tinyns.statistics (unit, start) WHERE unit + 0 < 2;
CREATE INDEX statistics_lookups ON tinyns.statistics (zone, unit, start, lookups DESC, code)
    WHERE unit > 0 AND code <> '' AND lookups > 0;
CREATE INDEX statistics_clicks ON tinyns.statistics (zone, unit, start, clicks DESC, code)
    WHERE unit > 0 AND code <> '' AND clicks > 0;
CREATE TABLE tinyns.statistics_batch (
    server text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL,            -- of its last batch
    at     bigint NOT NULL             -- seconds since 1970
);

CREATE FUNCTION tinyns.drop_statistics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT (SELECT statistics_of_deleted FROM tinyns.store) THEN
        DELETE FROM tinyns.statistics s USING deleted d, tinyns.statistics_zone z
            WHERE z.origin = d.origin AND s.zone = z.id AND s.code = d.code;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER link_deleted_statistics AFTER DELETE ON tinyns.link
    REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION tinyns.drop_statistics();

CREATE FUNCTION tinyns.renew_statistics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT (SELECT statistics_of_deleted FROM tinyns.store) THEN
        DELETE FROM tinyns.statistics s USING tinyns.statistics_zone z
            WHERE z.origin = OLD.origin AND s.zone = z.id AND s.code = OLD.code;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER link_renewed_statistics AFTER UPDATE ON tinyns.link FOR EACH ROW
    WHEN (OLD.created_at <> NEW.created_at OR OLD.origin <> NEW.origin OR OLD.code <> NEW.code)
    EXECUTE FUNCTION tinyns.renew_statistics();

CREATE FUNCTION tinyns.empty_statistics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT (SELECT statistics_of_deleted FROM tinyns.store) THEN
        DELETE FROM tinyns.statistics WHERE code <> '';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER link_emptied_statistics BEFORE TRUNCATE ON tinyns.link
    FOR EACH STATEMENT EXECUTE FUNCTION tinyns.empty_statistics();

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA tinyns FROM PUBLIC;
"#;

/// See [`crate::store::upkeep`]. Rankings have columns of their own, and nothing is found by its age. Functions that remove sums
/// first wait for the batch that adds to them: a statement does not see rows that others have made since it began.
///
/// The rankings are empty at first, and the walk over all sums fills them. An UPDATE of all rows here would hold its lock for 25
/// seconds with a million links instead of one second, and no link could be deleted meanwhile.
const V4: &str = r#"
DROP INDEX tinyns.statistics_age;
DROP INDEX tinyns.statistics_lookups;
DROP INDEX tinyns.statistics_clicks;
ALTER TABLE tinyns.statistics SET (fillfactor = 85);
ALTER TABLE tinyns.statistics ADD COLUMN lookups_ranked bigint NOT NULL DEFAULT 0; -- as the ranking has them
ALTER TABLE tinyns.statistics ADD COLUMN clicks_ranked bigint NOT NULL DEFAULT 0;
CREATE INDEX statistics_lookups ON tinyns.statistics (zone, unit, start, lookups_ranked DESC, code)
    WHERE unit > 0 AND code <> '' AND lookups_ranked > 0;
CREATE INDEX statistics_clicks ON tinyns.statistics (zone, unit, start, clicks_ranked DESC, code)
    WHERE unit > 0 AND code <> '' AND clicks_ranked > 0;

CREATE OR REPLACE FUNCTION tinyns.drop_statistics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT (SELECT statistics_of_deleted FROM tinyns.store) THEN
        PERFORM FROM tinyns.statistics s, deleted d, tinyns.statistics_zone z
            WHERE z.origin = d.origin AND s.zone = z.id AND s.code = d.code AND s.unit = 3 AND s.start = 0
            ORDER BY s.zone, s.code FOR UPDATE OF s;
        DELETE FROM tinyns.statistics s USING deleted d, tinyns.statistics_zone z
            WHERE z.origin = d.origin AND s.zone = z.id AND s.code = d.code;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION tinyns.renew_statistics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT (SELECT statistics_of_deleted FROM tinyns.store) THEN
        PERFORM FROM tinyns.statistics s, tinyns.statistics_zone z
            WHERE z.origin = OLD.origin AND s.zone = z.id AND s.code = OLD.code AND s.unit = 3 AND s.start = 0
            FOR UPDATE OF s;
        DELETE FROM tinyns.statistics s USING tinyns.statistics_zone z
            WHERE z.origin = OLD.origin AND s.zone = z.id AND s.code = OLD.code;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION tinyns.empty_statistics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT (SELECT statistics_of_deleted FROM tinyns.store) THEN
        PERFORM pg_advisory_xact_lock(7309464, 3);
        DELETE FROM tinyns.statistics WHERE code <> '';
    END IF;
    RETURN NULL;
END $$;
"#;

/// See [`crate::link::Destinations`], as JSON. Servers of earlier versions neither read nor write the column.
const V5: &str = "ALTER TABLE tinyns.link ADD COLUMN destinations text;";
