-- Facts about this database: which folding the *_folded columns were written with.
CREATE TABLE cinequery_meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Text compares by code point (BINARY is the default collation). A *_folded column holds the
-- case-folded form that `contains`, `starts with` and `ends with` search.
CREATE TABLE movies (
    id           BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    title        TEXT    NOT NULL CHECK (length(title) BETWEEN 1 AND 300),
    title_folded TEXT    NOT NULL,
    genre        TEXT    NOT NULL CHECK (length(genre) BETWEEN 1 AND 100),
    genre_folded TEXT    NOT NULL,
    release_year INTEGER NOT NULL CHECK (release_year BETWEEN 1870 AND 9999),
    expiry_date  TEXT    NOT NULL CHECK (length(expiry_date) = 10),
    version      INTEGER NOT NULL CHECK (version > 0),
    created_at   TEXT    NOT NULL CHECK (length(created_at) = 27),
    updated_at   TEXT    NOT NULL CHECK (length(updated_at) = 27),
    UNIQUE (title, release_year)
) STRICT, WITHOUT ROWID;

-- From the shapes of queries: a genre in a range of dates; a range of dates; a range of years; the
-- beginning of a title. Title and year are served by the unique constraint.
CREATE INDEX movies_genre_expiry_date ON movies (genre, expiry_date);
CREATE INDEX movies_expiry_date ON movies (expiry_date);
CREATE INDEX movies_release_year ON movies (release_year);
CREATE INDEX movies_title_folded ON movies (title_folded);
