-- How long an owner lets workers of queues be silent, in nanoseconds: they tell in time that they live.
ALTER TABLE members ADD COLUMN lease INTEGER NOT NULL DEFAULT 10000000000;

-- Workers ask the newest of those that own, or have owned; the others are many.
CREATE INDEX members_owning ON members (id) WHERE serves = 0;
