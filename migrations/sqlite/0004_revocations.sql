-- Tokens that are not accepted any more: one, or all that a subject had been issued. They are
-- numbered in the order of their commits: cinequery_meta holds the last number.
CREATE TABLE revocations (
    revision   INTEGER NOT NULL PRIMARY KEY,
    token_id   TEXT UNIQUE,
    subject    TEXT UNIQUE,
    revoked_at TEXT    NOT NULL CHECK (length(revoked_at) = 27),
    expires_at TEXT    NOT NULL CHECK (length(expires_at) = 27),
    CHECK ((token_id IS NULL) <> (subject IS NULL))
) STRICT;

INSERT INTO cinequery_meta (name, value) VALUES ('revocations', '0');
