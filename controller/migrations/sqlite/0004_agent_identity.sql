-- Who agents are, beyond one certificate: every certificate that was given out and what became of it,
-- who is locked out for good, and what connected controllers must be told at once.

-- A renewal makes the next generation. One is in use; those before it are replaced. A replaced one that
-- turns up again is in the wrong hands.
CREATE TABLE certificates (
    agent       TEXT    NOT NULL REFERENCES agents (id),
    serial      TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    key_sha256  TEXT    NOT NULL, -- of the public key; empty for those given out before this was kept
    issued_at   INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    used_at     INTEGER,
    replaced_at INTEGER,
    PRIMARY KEY (agent, serial)
) STRICT, WITHOUT ROWID;

CREATE INDEX certificates_of_key ON certificates (key_sha256);
CREATE INDEX certificates_end ON certificates (not_after);

ALTER TABLE agents ADD COLUMN generation INTEGER NOT NULL DEFAULT 1; -- of the certificate in use

INSERT INTO certificates (agent, serial, generation, key_sha256, issued_at, not_after, used_at)
    SELECT id, certificate_serial, 1, '', enrolled_at, certificate_not_after, enrolled_at FROM agents;

-- Outlives the agent's row being revoked: neither its name nor any of its keys may enrol.
CREATE TABLE bans (
    agent     TEXT    NOT NULL PRIMARY KEY REFERENCES agents (id),
    name      TEXT    NOT NULL,
    banned_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX bans_of_name ON bans (name);

-- Agents whose connections end now, on every controller; each controller reads on from where it was.
CREATE TABLE cuts (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT    NOT NULL,
    at    INTEGER NOT NULL
) STRICT;

ALTER TABLE join_tokens ADD COLUMN volume TEXT;
ALTER TABLE join_tokens ADD COLUMN created_by TEXT NOT NULL DEFAULT 'local';
CREATE INDEX join_tokens_by_age ON join_tokens (created_at, id);
