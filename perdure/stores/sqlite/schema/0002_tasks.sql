-- Work for other processes.

-- The next attempt of each step whose queue has workers of its own; at most one per step. Columns in the order of the
-- kernel's TaskRow. The id gives them their turn. member 0: nobody has taken it. details: of the latest heartbeat.
CREATE TABLE tasks (
    id         INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL,
    step       TEXT    NOT NULL,
    attempt    INTEGER NOT NULL,
    queue      TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    start_by   INTEGER,
    body       BLOB    NOT NULL,
    member     INTEGER NOT NULL,
    claimed_at INTEGER,
    details    BLOB,
    UNIQUE (run, step)
);

-- A worker looks for the oldest of each activity it knows: what it does not know must not stand in its way.
CREATE INDEX tasks_waiting ON tasks (queue, name) WHERE member = 0;

CREATE INDEX tasks_taken ON tasks (member) WHERE member > 0;

-- Processes that take tasks now. beat grows while one lives; the owner deletes the row of one that it takes for dead,
-- and nothing that worker writes is accepted after that.
CREATE TABLE workers (
    member  INTEGER PRIMARY KEY,
    queues  TEXT    NOT NULL,
    names   TEXT    NOT NULL,
    beat    INTEGER NOT NULL
);

-- A member that serves queues never owns: the newest of the others does, while the owner's lock is held.
ALTER TABLE members ADD COLUMN serves INTEGER NOT NULL DEFAULT 0;

-- What proves that a token was issued by this database.
CREATE TABLE secret (
    value BLOB NOT NULL
);

INSERT INTO secret VALUES (randomblob(32));
