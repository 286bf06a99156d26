-- Attempts that write to streams count what they bring, so that what is brought twice is stored once.

-- Of each step that has written, the latest attempt of it that has, and the number of the last row it has brought.
CREATE TABLE writers (
    run     INTEGER NOT NULL,
    step    TEXT    NOT NULL,
    attempt INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    PRIMARY KEY (run, step)
) WITHOUT ROWID;
