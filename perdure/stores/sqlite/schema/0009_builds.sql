-- Runs that only one build of the code may go on with.

-- That build; '' is any.
ALTER TABLE runs ADD COLUMN pinned TEXT NOT NULL DEFAULT '';
