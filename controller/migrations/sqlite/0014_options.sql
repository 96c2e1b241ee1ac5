-- What an operation is to do beyond its kind, as JSON: which certificates are renewed.
ALTER TABLE operations ADD COLUMN options TEXT;
