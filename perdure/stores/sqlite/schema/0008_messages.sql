-- What people say to runs, and what runs show them.

-- The answer to a query, or the failure that speaks against a message.
ALTER TABLE replies ADD COLUMN data BLOB;

-- Updates that were accepted. States have the numbers of the kernel's enum; `detail` is a result or a failure.
CREATE TABLE updates (
    run         INTEGER NOT NULL,
    id          TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    state       INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    ended_at    INTEGER,
    detail      BLOB,
    PRIMARY KEY (run, id)
) WITHOUT ROWID;

-- The newest value that a run shows under a name.
CREATE TABLE published (
    run   INTEGER NOT NULL,
    name  TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    value BLOB    NOT NULL,
    PRIMARY KEY (run, name)
) WITHOUT ROWID;
