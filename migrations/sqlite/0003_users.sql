-- Whoever signs in with a password, which is stored as an Argon2id hash (a PHC string).
CREATE TABLE users (
    name          TEXT    NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
    password_hash TEXT    NOT NULL,
    role          TEXT    NOT NULL CHECK (role IN ('viewer', 'editor', 'admin')),
    version       INTEGER NOT NULL CHECK (version > 0),
    created_at    TEXT    NOT NULL CHECK (length(created_at) = 27),
    updated_at    TEXT    NOT NULL CHECK (length(updated_at) = 27)
) STRICT, WITHOUT ROWID;
