-- Sessions: what a refresh token renews. Each renewal raises `generation`, and `revision` is the count of revocations at
-- sign-in. No secret is stored: a refresh token has the id, the generation and a signature.
CREATE TABLE cinequery_sessions (
    id         text        COLLATE "C" NOT NULL PRIMARY KEY,
    subject    text        COLLATE "C" NOT NULL,
    scope      text        NOT NULL,
    generation bigint      NOT NULL,
    revision   bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    renewed_at timestamptz NOT NULL
);

CREATE INDEX cinequery_sessions_subject ON cinequery_sessions (subject, renewed_at);
CREATE INDEX cinequery_sessions_renewed_at ON cinequery_sessions (renewed_at);
