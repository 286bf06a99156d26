-- A key is given once: whoever still has that of a run that has gone must not meet another run.

-- The highest key of those that have gone.
CREATE TABLE gone (last_key INTEGER NOT NULL);

INSERT INTO gone VALUES (0);
