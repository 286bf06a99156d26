-- Streams: named, append-only outputs of runs. closed_by names the step whose attempt has closed it, '' the workflow itself,
-- NULL nobody; closed_in is that attempt.
CREATE TABLE streams (
    id         INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    chunks     INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    closed_by  TEXT,
    closed_in  INTEGER,
    UNIQUE (run, name)
);

-- What was written to a stream at once, as one row: `count` chunks from the offset `first` on. With a rowid, since rows may
-- be large.
CREATE TABLE chunks (
    stream  INTEGER NOT NULL,
    first   INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    step    TEXT    NOT NULL,
    attempt INTEGER NOT NULL,
    body    BLOB    NOT NULL,
    PRIMARY KEY (stream, first)
);
