-- Sessions: what a refresh token renews. Each renewal raises `generation`, and `revision` is the count of revocations at
-- sign-in. No secret is stored: a refresh token has the id, the generation and a signature.
CREATE TABLE cinequery_sessions (
    id         TEXT    NOT NULL PRIMARY KEY,
    subject    TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    created_at TEXT    NOT NULL CHECK (length(created_at) = 27),
    renewed_at TEXT    NOT NULL CHECK (length(renewed_at) = 27)
) STRICT, WITHOUT ROWID;

CREATE INDEX cinequery_sessions_subject ON cinequery_sessions (subject, renewed_at);
CREATE INDEX cinequery_sessions_renewed_at ON cinequery_sessions (renewed_at);
