-- Whoever signs in with a password, which is stored as an Argon2id hash (a PHC string).
CREATE TABLE users (
    name          text        COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 100),
    password_hash text        NOT NULL,
    role          text        NOT NULL CHECK (role IN ('viewer', 'editor', 'admin')),
    version       bigint      NOT NULL CHECK (version > 0),
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);
