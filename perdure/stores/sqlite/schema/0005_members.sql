-- How long an owner lets workers of queues be silent, in nanoseconds: they tell in time that they live.
ALTER TABLE members ADD COLUMN lease INTEGER NOT NULL DEFAULT 10000000000;

-- Whether a run may tell of it: it has committed a batch, or taken a task. The rows of others go when their process does.
ALTER TABLE members ADD COLUMN used INTEGER NOT NULL DEFAULT 1;

-- Workers ask the newest of those that own, or have owned; the others are many.
CREATE INDEX members_owning ON members (id) WHERE serves = 0;
