-- Several runs of an id, one after the other, and what they are found by.

-- The key of the next run of the same id, 0 of the newest. Below 0 (-key): a start that is to end the newest run, and
-- waits for the owner to do that; it is not the newest before.
ALTER TABLE runs ADD COLUMN followed_by INTEGER NOT NULL DEFAULT 0;

-- The key of the run that this one continues, by way of any others; 0 if it continues none.
ALTER TABLE runs ADD COLUMN chain INTEGER NOT NULL DEFAULT 0;

-- Who asked for the run, so that the same request made again finds it. Looked at among the runs of one id only.
ALTER TABLE runs ADD COLUMN request TEXT NOT NULL DEFAULT '';

-- When the run is ended, whatever it does then. It wakes for that by its wake_at.
ALTER TABLE runs ADD COLUMN expires_at INTEGER;

-- Finds all runs of an id, and guards that one of them is the newest.
DROP INDEX runs_by_id;
CREATE UNIQUE INDEX runs_by_id ON runs (id, followed_by);
