-- Managed resources: Kubernetes YAML that users want kept in a cluster, and what became of it.

CREATE TABLE resources (
    seq          INTEGER PRIMARY KEY,
    cluster_id   TEXT    NOT NULL REFERENCES clusters (id),
    environment  TEXT    NOT NULL, -- with the name, what the manifest is sealed for
    name         TEXT    NOT NULL,
    revision     INTEGER NOT NULL,
    mode         TEXT    NOT NULL,
    digest       TEXT    NOT NULL, -- SHA-256 of the manifest
    wanted       TEXT    NOT NULL, -- objects that the manifest names
    objects      TEXT    NOT NULL, -- objects that the cluster has of it, so far as is known
    state        TEXT    NOT NULL,
    faults       TEXT    NOT NULL,
    inherited    INTEGER NOT NULL, -- it came from the environment's set
    handed       INTEGER NOT NULL DEFAULT 0, -- an agent was given it: the cluster may have something of it
    withdrawn    INTEGER NOT NULL, -- to be taken from the cluster; the row goes with it
    requested_by TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    checked_at   INTEGER,          -- when the cluster was last asked
    sealed       BLOB    NOT NULL,
    UNIQUE (cluster_id, name)
) STRICT;

-- The set that every new cluster of an environment gets. In order of their names.
CREATE TABLE environment_resources (
    environment  TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    revision     INTEGER NOT NULL,
    mode         TEXT    NOT NULL,
    digest       TEXT    NOT NULL,
    wanted       TEXT    NOT NULL,
    requested_by TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    sealed       BLOB    NOT NULL,
    PRIMARY KEY (environment, name)
) STRICT;

CREATE TRIGGER resource_begins AFTER INSERT ON resources BEGIN
    INSERT INTO events (kind, environment, cluster, detail)
    SELECT 'resource.' || NEW.state, NEW.environment, name,
        json_object('name', NEW.name, 'revision', NEW.revision, 'mode', NEW.mode)
    FROM clusters WHERE id = NEW.cluster_id;
END;
CREATE TRIGGER resource_goes_on AFTER UPDATE OF state, revision, withdrawn ON resources
WHEN NEW.state <> OLD.state OR NEW.revision <> OLD.revision OR NEW.withdrawn <> OLD.withdrawn BEGIN
    INSERT INTO events (kind, environment, cluster, detail)
    SELECT CASE WHEN NEW.withdrawn > OLD.withdrawn THEN 'resource.withdrawn' ELSE 'resource.' || NEW.state END,
        NEW.environment, name, json_object('name', NEW.name, 'revision', NEW.revision, 'mode', NEW.mode)
    FROM clusters WHERE id = NEW.cluster_id;
END;
CREATE TRIGGER resource_ends AFTER DELETE ON resources BEGIN
    INSERT INTO events (kind, environment, cluster, detail)
    SELECT 'resource.removed', OLD.environment, name, json_object('name', OLD.name)
    FROM clusters WHERE id = OLD.cluster_id;
END;
