-- Keys and tokens of users, protection of clusters, and the audit log's columns to look by.

CREATE TABLE api_keys (
    seq          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    handle       TEXT    NOT NULL UNIQUE, -- the part of the key that is no secret
    key_sha256   BLOB    NOT NULL,        -- of the whole key
    name         TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    grants       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;

CREATE INDEX api_keys_of_subject ON api_keys (subject) WHERE revoked_at IS NULL;

-- AUTOINCREMENT: whoever has read up to a number must not miss a later one that took a purged number.
CREATE TABLE revocations (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    kind       TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    made_until INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    by         TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    until      INTEGER NOT NULL
) STRICT;

CREATE INDEX revocations_end ON revocations (until);

ALTER TABLE clusters ADD COLUMN deletion_protection INTEGER NOT NULL DEFAULT 0 CHECK (deletion_protection IN (0, 1));

-- Taken from the entry itself, so that they cannot say anything else than what is chained.
ALTER TABLE audit ADD COLUMN actor TEXT GENERATED ALWAYS AS (json_extract(entry, '$.actor')) VIRTUAL;
ALTER TABLE audit ADD COLUMN object TEXT GENERATED ALWAYS AS (json_extract(entry, '$.object')) VIRTUAL;
CREATE INDEX audit_of_actor ON audit (actor);
CREATE INDEX audit_of_object ON audit (object);
