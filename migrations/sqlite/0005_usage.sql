-- How many requests somebody has sent, by day (UTC) and by what they were for.
CREATE TABLE usage (
    subject   TEXT    NOT NULL,
    day       TEXT    NOT NULL CHECK (length(day) = 10),
    class     TEXT    NOT NULL,
    requests  INTEGER NOT NULL CHECK (requests >= 0),
    throttled INTEGER NOT NULL CHECK (throttled >= 0),
    PRIMARY KEY (subject, day, class)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_day ON usage (day);

-- What has been added, so that nothing is added twice when its acknowledgement was lost.
CREATE TABLE usage_batches (
    id       BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    added_at TEXT NOT NULL CHECK (length(added_at) = 27)
) STRICT, WITHOUT ROWID;
