-- The responses to requests with an `Idempotency-Key`. `number` counts the keys of a subject. The oldest are deleted
-- first, so the greatest and the least number say how many there are.
CREATE TABLE idempotency_keys (
    subject     text        COLLATE "C" NOT NULL,
    key         text        COLLATE "C" NOT NULL,
    number      bigint      NOT NULL,
    fingerprint bytea       NOT NULL,
    response    text        NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (subject, key)
);

CREATE INDEX idempotency_keys_subject_number ON idempotency_keys (subject, number);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
