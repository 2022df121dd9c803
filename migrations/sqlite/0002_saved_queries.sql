-- Queries that somebody has named, of any collection. Their texts are checked when they are written
-- and again when they are read: the fields of a record may change between.
CREATE TABLE saved_queries (
    id                 BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    collection         TEXT    NOT NULL,
    collection_folded  TEXT    NOT NULL,
    name               TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    name_folded        TEXT    NOT NULL,
    description        TEXT,
    description_folded TEXT,
    filter             TEXT,
    filter_folded      TEXT,
    order_by           TEXT,
    order_by_folded    TEXT,
    parameters         TEXT    NOT NULL,
    parameters_folded  TEXT    NOT NULL,
    version            INTEGER NOT NULL CHECK (version > 0),
    created_at         TEXT    NOT NULL CHECK (length(created_at) = 27),
    updated_at         TEXT    NOT NULL CHECK (length(updated_at) = 27),
    UNIQUE (collection, name)
) STRICT, WITHOUT ROWID;
