-- What happened to one agent, and what it ran.
CREATE INDEX events_of_agent ON events (agent) WHERE agent IS NOT NULL;

-- The request that an operation came from: the same in the audit log, at the agent, and with the run.
ALTER TABLE operations ADD COLUMN request_id TEXT;
