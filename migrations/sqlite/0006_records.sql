-- The declaration that each table of records was brought to, as JSON.
CREATE TABLE cinequery_records (
    collection  TEXT NOT NULL PRIMARY KEY,
    declaration TEXT NOT NULL,
    applied_at  TEXT NOT NULL CHECK (length(applied_at) = 27)
) STRICT, WITHOUT ROWID;

-- The service validates lengths and ranges. Without these checks in the table, a declaration can be given
-- wider ones while other instances write. SQLite removes a check only by rebuilding the table.
CREATE TABLE movies_rebuilt (
    id           BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    title        TEXT    NOT NULL,
    title_folded TEXT    NOT NULL,
    genre        TEXT    NOT NULL,
    genre_folded TEXT    NOT NULL,
    release_year INTEGER NOT NULL,
    expiry_date  TEXT    NOT NULL CHECK (length(expiry_date) = 10),
    version      INTEGER NOT NULL CHECK (version > 0),
    created_at   TEXT    NOT NULL CHECK (length(created_at) = 27),
    updated_at   TEXT    NOT NULL CHECK (length(updated_at) = 27)
) STRICT, WITHOUT ROWID;

INSERT INTO movies_rebuilt
    (id, title, title_folded, genre, genre_folded, release_year, expiry_date, version, created_at, updated_at)
SELECT
    id, title, title_folded, genre, genre_folded, release_year, expiry_date, version, created_at, updated_at
FROM movies;

DROP TABLE movies;
ALTER TABLE movies_rebuilt RENAME TO movies;

CREATE UNIQUE INDEX movies_title_release_year ON movies (title, release_year);
CREATE INDEX movies_genre_expiry_date ON movies (genre, expiry_date);
CREATE INDEX movies_expiry_date ON movies (expiry_date);
CREATE INDEX movies_release_year ON movies (release_year);
CREATE INDEX movies_title_folded ON movies (title_folded);
