-- Steps: tasks that are not RKE's.

-- What a step found or did, by its kind.
ALTER TABLE tasks ADD COLUMN findings TEXT;
