CREATE TABLE screenings (
    id          uuid        NOT NULL PRIMARY KEY,
    film        text        COLLATE "C" NOT NULL,
    film_folded text        COLLATE "C" NOT NULL,
    hall        text        COLLATE "C",
    hall_folded text        COLLATE "C",
    seats       integer,
    subtitled   boolean,
    starts_at   timestamptz NOT NULL,
    sale_ends   date,
    version     bigint      NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    UNIQUE (film, starts_at)
);
