-- Looks for objects in the cloud that were made for clusters which are not there any more.
CREATE TABLE orphan_scans (
    seq          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    requested_by TEXT,               -- none: it was due
    agent        TEXT,               -- none: all that were connected
    begun_at     INTEGER NOT NULL,
    ended_at     INTEGER,
    results      TEXT    NOT NULL    -- what each agent found, or why it found nothing, as JSON
) STRICT;

CREATE INDEX orphan_scans_open ON orphan_scans (seq) WHERE ended_at IS NULL;
