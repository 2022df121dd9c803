-- The journal: one row for each change of a record. `before` is null for a creation, `after` for a deletion, both for
-- an erased history. The records are JSON and not columns, because declarations change.
CREATE SEQUENCE changes_position;

CREATE TABLE changes (
    position   bigint      NOT NULL PRIMARY KEY DEFAULT nextval('changes_position'),
    collection text        COLLATE "C" NOT NULL,
    id         uuid        NOT NULL,
    version    bigint      NOT NULL CHECK (version > 0),
    before     json,
    after      json,
    subject    text        COLLATE "C" NOT NULL,
    request_id text        COLLATE "C",
    changed_at timestamptz NOT NULL
);

ALTER SEQUENCE changes_position OWNED BY changes.position;

-- A position that no change has. So `last_value` is less than the positions of all changes that are not yet numbered.
SELECT nextval('changes_position');

-- Unique, so that no two states of a record have the same version, also if a record is restored while others delete it.
CREATE UNIQUE INDEX changes_id_version ON changes (id, version);
