-- Recovery of state, and the scrub of volumes.

-- The generation that a recovery is to use, when one was named.
ALTER TABLE operations ADD COLUMN recover_generation INTEGER;
