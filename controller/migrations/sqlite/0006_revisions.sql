-- Every spec that a cluster had. The newest is the one in `clusters`.
CREATE TABLE revisions (
    cluster_id     TEXT    NOT NULL REFERENCES clusters (id),
    number         INTEGER NOT NULL,
    operation      TEXT    NOT NULL, -- that made it
    requested_by   TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    verified_at    INTEGER,          -- when the cluster was last found to be as it says
    sealed_secrets BLOB,
    spec           TEXT    NOT NULL, -- secrets masked
    PRIMARY KEY (cluster_id, number)
) STRICT;

INSERT INTO revisions (cluster_id, number, operation, requested_by, created_at, verified_at, sealed_secrets, spec)
SELECT c.id, c.revision, o.id, o.requested_by, c.created_at,
       CASE c.phase WHEN 'ready' THEN c.updated_at END, c.sealed_secrets, c.spec
FROM clusters c
JOIN operations o ON o.seq = (
    SELECT min(f.seq) FROM operations f
    WHERE f.environment = c.environment AND f.cluster = c.name AND f.cluster_id = c.id
);
