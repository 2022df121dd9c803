-- The responses to requests with an `Idempotency-Key`. `number` counts the keys of a subject. The oldest are deleted
-- first, so the greatest and the least number say how many there are.
CREATE TABLE idempotency_keys (
    subject     TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    fingerprint BLOB    NOT NULL,
    response    TEXT    NOT NULL,
    created_at  TEXT    NOT NULL CHECK (length(created_at) = 27),
    PRIMARY KEY (subject, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_subject_number ON idempotency_keys (subject, number);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
