-- How many requests somebody has sent, by day (UTC) and by what they were for.
CREATE TABLE usage (
    subject   text   COLLATE "C" NOT NULL,
    day       date   NOT NULL,
    class     text   COLLATE "C" NOT NULL,
    requests  bigint NOT NULL CHECK (requests >= 0),
    throttled bigint NOT NULL CHECK (throttled >= 0),
    PRIMARY KEY (subject, day, class)
);

CREATE INDEX usage_day ON usage (day);

-- What has been added, so that nothing is added twice when its acknowledgement was lost.
CREATE TABLE usage_batches (
    id       uuid        NOT NULL PRIMARY KEY,
    added_at timestamptz NOT NULL
);
