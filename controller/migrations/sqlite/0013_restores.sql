-- Restores of this database from backups, and what was found on the volumes since.

CREATE TABLE restores (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    made_at INTEGER NOT NULL -- when the backup was made
) STRICT;

CREATE TABLE looked_through (
    volume  TEXT    NOT NULL PRIMARY KEY,
    restore INTEGER NOT NULL REFERENCES restores (number) -- since which it was looked through
) STRICT, WITHOUT ROWID;

CREATE TABLE orphans (
    volume      TEXT    NOT NULL,
    cluster_id  TEXT    NOT NULL,
    environment TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    fence       INTEGER,
    generation  INTEGER,
    reason      TEXT    NOT NULL,
    found_at    INTEGER NOT NULL,
    PRIMARY KEY (volume, cluster_id)
) STRICT, WITHOUT ROWID;
