-- The first schema. Times are nanoseconds since the epoch; numbers of states are those of the kernel's enums.
-- A statement ends with a semicolon at the end of a line; all of a file is applied in one transaction.

-- One row per run: what lists show and an owner looks for. Columns in the order of the kernel's RunRow.
-- Keys are handed out by whoever starts the run (the owner even ones, clients odd ones), so no AUTOINCREMENT.
CREATE TABLE runs (
    key        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL,
    run_id     BLOB    NOT NULL,
    workflow   TEXT    NOT NULL,
    status     INTEGER NOT NULL,
    note       TEXT    NOT NULL,
    build      TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    closed_at  INTEGER,
    wake_at    INTEGER,
    seq        INTEGER NOT NULL,
    block      BLOB,
    open_tail  INTEGER NOT NULL,
    strikes    INTEGER NOT NULL
);

-- Guards an id.
CREATE UNIQUE INDEX runs_by_id ON runs (id);

-- Completed runs (7) are nearly all of them and are found by key; the others are few and asked for by status.
CREATE INDEX runs_by_status ON runs (status) WHERE status <> 7;

-- Only what has an alarm set costs an entry.
CREATE INDEX runs_by_wake_at ON runs (wake_at) WHERE wake_at IS NOT NULL;

-- The events of one run in one commit; seq is the number of the first. Rows lie in the order they were written, with
-- the key in an index of its own: clustered by run, a commit over thousands of runs would touch a page for each.
CREATE TABLE history (
    run    INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    events BLOB    NOT NULL,
    PRIMARY KEY (run, seq)
);

-- Attempts that failed, were retried or have logs. Columns in the order of the kernel's AttemptRow.
CREATE TABLE attempts (
    run        INTEGER NOT NULL,
    step       TEXT    NOT NULL,
    attempt    INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    member     INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    retry_at   INTEGER,
    counted    INTEGER NOT NULL,
    detail     BLOB,
    PRIMARY KEY (run, step, attempt)
) WITHOUT ROWID;

-- Payloads too large for the history. With a rowid: rows of megabytes do not belong into an index tree.
CREATE TABLE blobs (
    run    INTEGER NOT NULL,
    digest BLOB    NOT NULL,
    data   BLOB    NOT NULL,
    UNIQUE (run, digest)
);

-- Messages nobody has read. AUTOINCREMENT, since an owner remembers ids it has taken: none may come twice.
CREATE TABLE mail (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    run      INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    body     BLOB    NOT NULL,
    reply_to TEXT    NOT NULL
);

CREATE INDEX mail_by_run ON mail (run);

-- Answers for clients that have nothing but the database.
CREATE TABLE replies (
    request    TEXT    PRIMARY KEY,
    code       TEXT    NOT NULL,
    error      TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX replies_by_expiry ON replies (expires_at);

-- Every process that ever owned the database; the newest is the owner while the lock is held.
CREATE TABLE members (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    host       TEXT    NOT NULL,
    pid        INTEGER NOT NULL,
    build      TEXT    NOT NULL,
    started_at INTEGER NOT NULL
);

-- What the newest owner knows, so that clients without code can check names and arguments.
CREATE TABLE definitions (
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    parameters BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
