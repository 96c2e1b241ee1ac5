-- What the last check of a cluster found.

CREATE TABLE health (
    cluster_id   TEXT    NOT NULL PRIMARY KEY REFERENCES clusters (id),
    operation    TEXT    NOT NULL, -- that checked it
    recorded_at  INTEGER NOT NULL,
    findings     TEXT    NOT NULL,
    told         INTEGER NOT NULL  -- that a certificate runs out soon was told
) STRICT;

-- When the first of its certificates runs out, so far as is known.
ALTER TABLE clusters ADD COLUMN certificates_expire_at INTEGER;
CREATE INDEX clusters_expiring ON clusters (certificates_expire_at)
    WHERE certificates_expire_at IS NOT NULL AND phase <> 'removed';
