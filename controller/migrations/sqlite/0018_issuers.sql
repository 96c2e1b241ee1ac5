-- Which root of the authority made a certificate, and whom its holder trusts since: fingerprints. Empty where
-- that was not kept yet.
ALTER TABLE certificates ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
ALTER TABLE certificates ADD COLUMN trust  TEXT NOT NULL DEFAULT '';
