-- What an administrator has to look at. While an alarm is open, the next one of its kind about the same
-- object only counts.

CREATE TABLE alarms (
    number          INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again
    kind            TEXT NOT NULL,
    object          TEXT NOT NULL,
    environment     TEXT,
    cluster         TEXT,
    agent           TEXT,
    detail          TEXT NOT NULL,
    first_at        INTEGER NOT NULL,
    last_at         INTEGER NOT NULL,
    count           INTEGER NOT NULL DEFAULT 1,
    acknowledged_at INTEGER,
    acknowledged_by TEXT,
    reason          TEXT
) STRICT;

CREATE UNIQUE INDEX alarms_open ON alarms (kind, object) WHERE acknowledged_at IS NULL;

CREATE TRIGGER alarm_rings AFTER INSERT ON alarms BEGIN
    INSERT INTO events (kind, environment, cluster, agent, detail)
    VALUES ('alarm.raised', NEW.environment, NEW.cluster, NEW.agent,
        json_object('number', NEW.number, 'kind', NEW.kind, 'object', NEW.object));
END;
CREATE TRIGGER alarm_ends AFTER UPDATE OF acknowledged_at ON alarms
WHEN OLD.acknowledged_at IS NULL AND NEW.acknowledged_at IS NOT NULL BEGIN
    INSERT INTO events (kind, environment, cluster, agent, detail)
    VALUES ('alarm.acknowledged', NEW.environment, NEW.cluster, NEW.agent,
        json_object('number', NEW.number, 'kind', NEW.kind, 'object', NEW.object, 'by', NEW.acknowledged_by));
END;

-- Every agent that ever rightly had an attempt: one that has it no more is late, one that never had it
-- has no business with it.
CREATE TABLE attempt_holders (
    attempt TEXT NOT NULL,
    agent   TEXT NOT NULL,
    PRIMARY KEY (attempt, agent)
) STRICT, WITHOUT ROWID;

INSERT INTO attempt_holders SELECT id, agent FROM attempts;

CREATE TRIGGER attempt_held AFTER INSERT ON attempts BEGIN
    INSERT OR IGNORE INTO attempt_holders (attempt, agent) VALUES (NEW.id, NEW.agent);
END;
CREATE TRIGGER attempt_handed_on AFTER UPDATE OF agent ON attempts WHEN NEW.agent <> OLD.agent BEGIN
    INSERT OR IGNORE INTO attempt_holders (attempt, agent) VALUES (NEW.id, NEW.agent);
END;
