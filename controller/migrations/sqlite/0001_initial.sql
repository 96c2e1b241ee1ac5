-- Everything a controller keeps. Ids are UUIDs as text, times are milliseconds since the epoch, JSON
-- columns hold what the domain's serde says. `seq` is the order of acceptance: lists page by it, and
-- because SQLite appends it to every index, no index names it.

CREATE TABLE environments (
    name     TEXT    NOT NULL PRIMARY KEY,
    clusters INTEGER NOT NULL -- those not removed; kept by the triggers below
) STRICT, WITHOUT ROWID;

CREATE TABLE clusters (
    seq            INTEGER PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    environment    TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    phase          TEXT    NOT NULL,
    revision       INTEGER NOT NULL,
    fence          INTEGER NOT NULL, -- the highest ever given out
    volume         TEXT,
    operation      TEXT,             -- the one at work
    generation     INTEGER,          -- newest good one
    state_sha256   TEXT,             -- of its state file
    ca_sha256      TEXT,
    failure        TEXT,
    conditions     TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    sealed_secrets BLOB,
    spec           TEXT    NOT NULL  -- secrets masked
) STRICT;

-- A name is used by one cluster at a time, and free again after removal.
CREATE UNIQUE INDEX clusters_live ON clusters (environment, name) WHERE phase <> 'removed';
CREATE INDEX clusters_named ON clusters (environment, name);

CREATE TRIGGER clusters_counted AFTER INSERT ON clusters BEGIN
    INSERT INTO environments (name, clusters) VALUES (NEW.environment, 1)
        ON CONFLICT (name) DO UPDATE SET clusters = clusters + 1;
END;
CREATE TRIGGER clusters_uncounted AFTER UPDATE OF phase ON clusters
WHEN NEW.phase = 'removed' AND OLD.phase <> 'removed' BEGIN
    UPDATE environments SET clusters = clusters - 1 WHERE name = NEW.environment;
END;
CREATE TRIGGER clusters_fence_only_grows BEFORE UPDATE OF fence ON clusters
WHEN NEW.fence < OLD.fence BEGIN
    SELECT RAISE(ABORT, 'a fence only grows');
END;

CREATE TABLE operations (
    seq          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    kind         TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    environment  TEXT    NOT NULL,
    cluster      TEXT    NOT NULL, -- its name
    cluster_id   TEXT    NOT NULL REFERENCES clusters (id),
    requested_by TEXT    NOT NULL,
    reason       TEXT,
    created_at   INTEGER NOT NULL,
    started_at   INTEGER,
    ended_at     INTEGER,
    progress     TEXT,
    failure      TEXT,
    warnings     TEXT    NOT NULL,
    output_bytes INTEGER NOT NULL
) STRICT;

CREATE INDEX operations_of_environment ON operations (environment);
CREATE INDEX operations_of_cluster ON operations (environment, cluster);
CREATE INDEX operations_in_state ON operations (environment, state);

CREATE TABLE tasks (
    seq         INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    operation   TEXT    NOT NULL REFERENCES operations (id),
    ordinal     INTEGER NOT NULL,
    kind        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    cluster_id  TEXT    NOT NULL REFERENCES clusters (id),
    environment TEXT    NOT NULL,
    volume      TEXT -- the cluster's, repeated here so that the queue of a volume is an index
) STRICT;

CREATE UNIQUE INDEX tasks_of_operation ON tasks (operation, ordinal);
CREATE INDEX tasks_of_volume ON tasks (volume) WHERE state = 'queued' AND volume IS NOT NULL;
CREATE INDEX tasks_of_nobody ON tasks (environment) WHERE state = 'queued' AND volume IS NULL;

CREATE TABLE agents (
    seq                   INTEGER PRIMARY KEY,
    id                    TEXT    NOT NULL UNIQUE,
    name                  TEXT    NOT NULL,
    state                 TEXT    NOT NULL,
    environments          TEXT    NOT NULL,
    enrolled_at           INTEGER NOT NULL,
    certificate_serial    TEXT    NOT NULL,
    certificate_not_after INTEGER NOT NULL,
    facts                 TEXT
) STRICT;

CREATE UNIQUE INDEX agents_live ON agents (name) WHERE state <> 'revoked';
CREATE INDEX agents_named ON agents (name);
CREATE INDEX agents_patterns ON agents (state, environments);

-- What heartbeats say; apart from the facts, because it changes all the time.
CREATE TABLE sightings (
    agent         TEXT    NOT NULL PRIMARY KEY REFERENCES agents (id),
    seen_at       INTEGER NOT NULL,
    clock_skew_ms INTEGER,
    volumes       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Which agent serves a volume: the one that connected with it last.
CREATE TABLE volumes (
    id       TEXT    NOT NULL PRIMARY KEY,
    agent    TEXT    NOT NULL REFERENCES agents (id),
    taken_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE kubernetes_versions (
    version TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    seq           INTEGER PRIMARY KEY,
    id            TEXT    NOT NULL UNIQUE,
    task          TEXT    NOT NULL REFERENCES tasks (id),
    operation     TEXT    NOT NULL REFERENCES operations (id),
    cluster_id    TEXT    NOT NULL REFERENCES clusters (id),
    agent         TEXT    NOT NULL REFERENCES agents (id),
    volume        TEXT    NOT NULL,
    kind          TEXT    NOT NULL,
    fence         INTEGER NOT NULL,
    state         TEXT    NOT NULL,
    leased_at     INTEGER NOT NULL,
    started_at    INTEGER,
    ended_at      INTEGER,
    reason        TEXT, -- why it was given back
    failure       TEXT,
    rke           TEXT,
    exit          TEXT,
    report_sha256 BLOB, -- of the report that settled it
    output_offset INTEGER NOT NULL,
    output_bytes  INTEGER NOT NULL
) STRICT;

-- The first invariant: at most one run per cluster, whoever forgets to look.
CREATE UNIQUE INDEX attempts_lock ON attempts (cluster_id) WHERE state IN ('leased', 'started', 'unknown');
CREATE INDEX attempts_of_operation ON attempts (operation);
CREATE INDEX attempts_of_agent ON attempts (agent) WHERE state IN ('leased', 'started', 'unknown');
CREATE INDEX attempts_on_volume ON attempts (volume) WHERE state IN ('leased', 'started', 'unknown');

CREATE TABLE generations (
    cluster_id TEXT    NOT NULL REFERENCES clusters (id),
    number     INTEGER NOT NULL,
    manifest   TEXT    NOT NULL,
    PRIMARY KEY (cluster_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    subject    TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    digest     TEXT    NOT NULL,
    operation  TEXT    NOT NULL REFERENCES operations (id),
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (subject, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_ends ON idempotency (expires_at);

CREATE TABLE join_tokens (
    id            TEXT    NOT NULL PRIMARY KEY,
    secret_sha256 TEXT    NOT NULL UNIQUE,
    agent         TEXT,
    environments  TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    used_at       INTEGER,
    used_by       TEXT
) STRICT, WITHOUT ROWID;

-- Reports that were not applied, kept as evidence.
CREATE TABLE quarantine (
    seq     INTEGER PRIMARY KEY,
    attempt TEXT    NOT NULL,
    agent   TEXT    NOT NULL,
    fence   INTEGER NOT NULL,
    report  TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT;

CREATE INDEX quarantine_of_attempt ON quarantine (attempt, agent);
CREATE INDEX quarantine_of_agent ON quarantine (agent);

-- Each entry carries the hash of the one before it, so that a change or a gap shows.
CREATE TABLE audit (
    number        INTEGER PRIMARY KEY,
    at            INTEGER NOT NULL,
    entry         TEXT    NOT NULL,
    previous_hash BLOB    NOT NULL,
    hash          BLOB    NOT NULL
) STRICT;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- Written by the readiness probe: proof that a write goes through.
CREATE TABLE probe (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    writes INTEGER NOT NULL
) STRICT;
INSERT INTO probe (id, writes) VALUES (1, 0);
