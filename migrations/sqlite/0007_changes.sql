-- The journal: one row for each change of a record. `before` is null for a creation, `after` for a deletion, both for
-- an erased history. The records are JSON and not columns, because declarations change. AUTOINCREMENT never reuses the
-- position of a row that was swept.
CREATE TABLE changes (
    position   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    collection TEXT    NOT NULL,
    id         BLOB    NOT NULL CHECK (length(id) = 16),
    version    INTEGER NOT NULL CHECK (version > 0),
    before     TEXT,
    after      TEXT,
    subject    TEXT    NOT NULL,
    request_id TEXT,
    changed_at TEXT    NOT NULL CHECK (length(changed_at) = 27)
) STRICT;

-- Unique, so that no two states of a record have the same version, also if a record is restored while others delete it.
CREATE UNIQUE INDEX changes_id_version ON changes (id, version);
