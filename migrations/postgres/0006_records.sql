-- The declaration that each table of records was brought to, as JSON.
CREATE TABLE cinequery_records (
    collection  text        COLLATE "C" NOT NULL PRIMARY KEY,
    declaration text        NOT NULL,
    applied_at  timestamptz NOT NULL
);

-- The service validates lengths and ranges. Without these checks in the table, a declaration can be given
-- wider ones while other instances write.
ALTER TABLE movies
    DROP CONSTRAINT movies_title_check,
    DROP CONSTRAINT movies_genre_check,
    DROP CONSTRAINT movies_release_year_check;

-- Indexes are named after their columns, those of unique keys too.
ALTER TABLE movies RENAME CONSTRAINT movies_title_release_year_key TO movies_title_release_year;
