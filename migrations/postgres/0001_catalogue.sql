-- Facts about this database: which folding the *_folded columns were written with.
CREATE TABLE cinequery_meta (
    name  text NOT NULL PRIMARY KEY,
    value text NOT NULL
);

-- Text compares by code point whatever the collation of the database. A *_folded column holds the
-- case-folded form that `contains`, `starts with` and `ends with` search.
CREATE TABLE movies (
    id           uuid        NOT NULL PRIMARY KEY,
    title        text        COLLATE "C" NOT NULL CHECK (char_length(title) BETWEEN 1 AND 300),
    title_folded text        COLLATE "C" NOT NULL,
    genre        text        COLLATE "C" NOT NULL CHECK (char_length(genre) BETWEEN 1 AND 100),
    genre_folded text        COLLATE "C" NOT NULL,
    release_year integer     NOT NULL CHECK (release_year BETWEEN 1870 AND 9999),
    expiry_date  date        NOT NULL CHECK (expiry_date BETWEEN '0001-01-01' AND '9999-12-31'),
    version      bigint      NOT NULL CHECK (version > 0),
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    UNIQUE (title, release_year)
);

-- From the shapes of queries: a genre in a range of dates; a range of dates; a range of years; the
-- beginning of a title. Title and year are served by the unique constraint.
CREATE INDEX movies_genre_expiry_date ON movies (genre, expiry_date);
CREATE INDEX movies_expiry_date ON movies (expiry_date);
CREATE INDEX movies_release_year ON movies (release_year);
CREATE INDEX movies_title_folded ON movies (title_folded);
