-- What people are asked: one row per human task that is open. Columns in the order of the kernel's HumanTaskRow.
CREATE TABLE human (
    run        INTEGER NOT NULL,
    step       TEXT    NOT NULL,
    title      TEXT    NOT NULL,
    assignees  TEXT    NOT NULL,
    claimed_by TEXT    NOT NULL,
    opened_at  INTEGER NOT NULL,
    due_at     INTEGER,
    remind_at  INTEGER,
    expires_at INTEGER,
    reminders  INTEGER NOT NULL,
    overdue    INTEGER NOT NULL,
    body       BLOB    NOT NULL,
    PRIMARY KEY (run, step)
);

CREATE INDEX human_by_age ON human (opened_at, run, step);

CREATE INDEX human_by_due_at ON human (due_at) WHERE due_at IS NOT NULL;

-- Who they are found by: the assignees, and who has claimed it.
CREATE TABLE human_people (
    person TEXT    NOT NULL,
    run    INTEGER NOT NULL,
    step   TEXT    NOT NULL,
    PRIMARY KEY (person, run, step)
) WITHOUT ROWID;

CREATE INDEX human_people_by_task ON human_people (run, step);
