-- Who ended a removal that could not be finished, when and why, as JSON.
ALTER TABLE operations ADD COLUMN abandoned TEXT;
