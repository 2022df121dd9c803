-- Queries that somebody has named, of any collection. Their texts are checked when they are written
-- and again when they are read: the fields of a record may change between.
CREATE TABLE saved_queries (
    id                 uuid        NOT NULL PRIMARY KEY,
    collection         text        COLLATE "C" NOT NULL,
    collection_folded  text        COLLATE "C" NOT NULL,
    name               text        COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    name_folded        text        COLLATE "C" NOT NULL,
    description        text        COLLATE "C",
    description_folded text        COLLATE "C",
    filter             text        COLLATE "C",
    filter_folded      text        COLLATE "C",
    order_by           text        COLLATE "C",
    order_by_folded    text        COLLATE "C",
    parameters         text        COLLATE "C" NOT NULL,
    parameters_folded  text        COLLATE "C" NOT NULL,
    version            bigint      NOT NULL CHECK (version > 0),
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    UNIQUE (collection, name)
);
