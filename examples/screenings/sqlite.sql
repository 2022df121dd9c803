CREATE TABLE screenings (
    id          BLOB    NOT NULL PRIMARY KEY,
    film        TEXT    NOT NULL,
    film_folded TEXT    NOT NULL,
    hall        TEXT,
    hall_folded TEXT,
    seats       INTEGER,
    subtitled   INTEGER,
    starts_at   TEXT    NOT NULL,
    sale_ends   TEXT,
    version     INTEGER NOT NULL,
    created_at  TEXT    NOT NULL,
    updated_at  TEXT    NOT NULL,
    UNIQUE (film, starts_at)
) STRICT, WITHOUT ROWID;
