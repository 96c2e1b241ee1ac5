-- Retries, withdrawals and evidence.

-- A task that is tried again waits for so long first. The waiting is done by the controller's
-- monotonic clock; zero means that it may be leased.
ALTER TABLE tasks ADD COLUMN delay_ms INTEGER NOT NULL DEFAULT 0;
CREATE INDEX tasks_delayed ON tasks (seq) WHERE state = 'queued' AND delay_ms > 0;

-- The operation that this one repeats.
ALTER TABLE operations ADD COLUMN retry_of TEXT;

-- What the cluster was when its removal was accepted.
ALTER TABLE clusters ADD COLUMN phase_before TEXT;

-- True when another agent went on with the run than the one that began it.
ALTER TABLE attempts ADD COLUMN taken_over INTEGER NOT NULL DEFAULT 0;

-- What was refused: a report, or a piece of output (its place, size and checksum).
ALTER TABLE quarantine ADD COLUMN kind TEXT NOT NULL DEFAULT 'report';
