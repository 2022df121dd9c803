-- What an import with an `Idempotency-Key` has committed. Its response is null until it has ended.
ALTER TABLE idempotency_keys ADD COLUMN progress text COLLATE "C";
