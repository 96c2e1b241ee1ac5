-- What is counted whenever somebody looks at the metrics or at the summary: each count reads an index of
-- what lives, never the history.

CREATE INDEX operations_live ON operations (state, kind, created_at) WHERE state IN ('queued', 'running', 'cancelling');
CREATE INDEX clusters_by_phase ON clusters (phase) WHERE phase <> 'removed';
CREATE INDEX clusters_of_volume ON clusters (volume) WHERE phase <> 'removed' AND volume IS NOT NULL;
CREATE INDEX attempts_holding ON attempts (state, leased_at) WHERE state IN ('leased', 'started', 'unknown');
CREATE INDEX agents_certificates ON agents (certificate_not_after) WHERE state NOT IN ('quarantined', 'revoked');

-- When the newest generation of a cluster was sealed.
ALTER TABLE clusters ADD COLUMN sealed_at INTEGER;
UPDATE clusters SET sealed_at = (
    SELECT CAST(unixepoch(g.manifest ->> '$.sealed_at', 'subsec') * 1000 AS INTEGER) FROM generations g
    WHERE g.cluster_id = clusters.id ORDER BY g.number DESC LIMIT 1
);
CREATE INDEX clusters_sealed ON clusters (sealed_at) WHERE phase <> 'removed' AND sealed_at IS NOT NULL;
CREATE TRIGGER generation_sealed AFTER INSERT ON generations BEGIN
    UPDATE clusters SET sealed_at = CAST(unixepoch(NEW.manifest ->> '$.sealed_at', 'subsec') * 1000 AS INTEGER)
    WHERE id = NEW.cluster_id;
END;
