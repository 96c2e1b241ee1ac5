-- What happened, in order, for those who watch. The database writes it itself, within the transaction
-- of the change: no verb can forget to, and nothing is told that was not kept. The time is set by the
-- writer right before the commit, from the controller's own clock.

CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, not even after the newest were thrown away
    at          INTEGER,
    kind        TEXT NOT NULL,
    environment TEXT, -- none: for administrators
    cluster     TEXT,
    operation   TEXT,
    agent       TEXT,
    detail      TEXT NOT NULL
) STRICT;

CREATE INDEX events_untimed ON events (seq) WHERE at IS NULL;
CREATE INDEX events_by_time ON events (at);

CREATE TRIGGER operation_begins AFTER INSERT ON operations BEGIN
    INSERT INTO events (kind, environment, cluster, operation, detail)
    VALUES ('operation.accepted', NEW.environment, NEW.cluster, NEW.id,
        json_object('kind', NEW.kind, 'requested_by', NEW.requested_by, 'retry_of', NEW.retry_of));
    INSERT INTO events (kind, environment, cluster, operation, detail)
    SELECT 'operation.' || NEW.state, NEW.environment, NEW.cluster, NEW.id, json_object('kind', NEW.kind)
    WHERE NEW.state <> 'queued';
END;
CREATE TRIGGER operation_goes_on AFTER UPDATE OF state ON operations WHEN NEW.state <> OLD.state BEGIN
    INSERT INTO events (kind, environment, cluster, operation, detail)
    VALUES ('operation.' || NEW.state, NEW.environment, NEW.cluster, NEW.id,
        json_object('kind', NEW.kind, 'class', NEW.failure ->> '$.class'));
END;
CREATE TRIGGER cluster_begins AFTER INSERT ON clusters BEGIN
    INSERT INTO events (kind, environment, cluster, operation, detail)
    VALUES ('cluster.' || NEW.phase, NEW.environment, NEW.name, NEW.operation, json_object('id', NEW.id));
END;
CREATE TRIGGER cluster_goes_on AFTER UPDATE OF phase ON clusters WHEN NEW.phase <> OLD.phase BEGIN
    INSERT INTO events (kind, environment, cluster, operation, detail)
    VALUES ('cluster.' || NEW.phase, NEW.environment, NEW.name, coalesce(NEW.operation, OLD.operation),
        json_object('id', NEW.id, 'from', OLD.phase));
END;
CREATE TRIGGER attempt_begins AFTER INSERT ON attempts BEGIN
    INSERT INTO events (kind, environment, cluster, operation, agent, detail)
    SELECT 'attempt.' || NEW.state, environment, name, NEW.operation, NEW.agent,
        json_object('id', NEW.id, 'task', NEW.kind, 'fence', NEW.fence)
    FROM clusters WHERE id = NEW.cluster_id;
END;
CREATE TRIGGER attempt_goes_on AFTER UPDATE OF state, agent ON attempts
WHEN NEW.state <> OLD.state OR NEW.agent <> OLD.agent BEGIN
    INSERT INTO events (kind, environment, cluster, operation, agent, detail)
    SELECT CASE WHEN NEW.agent <> OLD.agent THEN 'attempt.taken-over' ELSE 'attempt.' || NEW.state END,
        environment, name, NEW.operation, NEW.agent,
        json_object('id', NEW.id, 'task', NEW.kind, 'class', NEW.failure ->> '$.class')
    FROM clusters WHERE id = NEW.cluster_id;
END;
CREATE TRIGGER agent_begins AFTER INSERT ON agents BEGIN
    INSERT INTO events (kind, agent, detail) VALUES ('agent.enrolled', NEW.id, json_object('name', NEW.name));
END;
CREATE TRIGGER agent_goes_on AFTER UPDATE OF state ON agents WHEN NEW.state <> OLD.state BEGIN
    INSERT INTO events (kind, agent, detail)
    VALUES ('agent.' || NEW.state, NEW.id, json_object('name', NEW.name, 'from', OLD.state));
END;
CREATE TRIGGER agent_renews AFTER UPDATE OF certificate_serial ON agents
WHEN NEW.certificate_serial <> OLD.certificate_serial BEGIN
    INSERT INTO events (kind, agent, detail)
    VALUES ('agent.renewed', NEW.id, json_object('name', NEW.name, 'serial', NEW.certificate_serial));
END;
CREATE TRIGGER volume_begins AFTER INSERT ON volumes BEGIN
    INSERT INTO events (kind, agent, detail) VALUES ('volume.served', NEW.agent, json_object('id', NEW.id));
END;
CREATE TRIGGER volume_goes_on AFTER UPDATE OF agent ON volumes WHEN NEW.agent <> OLD.agent BEGIN
    INSERT INTO events (kind, agent, detail)
    VALUES ('volume.served', NEW.agent, json_object('id', NEW.id, 'from', OLD.agent));
END;
