-- Tokens that are not accepted any more: one, or all that a subject had been issued. They are
-- numbered in the order of their commits: cinequery_meta holds the last number.
CREATE TABLE revocations (
    revision   bigint      NOT NULL PRIMARY KEY,
    token_id   text        COLLATE "C" UNIQUE,
    subject    text        COLLATE "C" UNIQUE,
    revoked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CHECK ((token_id IS NULL) <> (subject IS NULL))
);

INSERT INTO cinequery_meta (name, value) VALUES ('revocations', '0');
