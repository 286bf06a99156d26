-- Runs that others have started as their children.

-- The key of the run that has started this one, and of the first of its ancestors; 0 of a run that is nobody's child.
ALTER TABLE runs ADD COLUMN parent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN root INTEGER NOT NULL DEFAULT 0;

-- Runs that are nobody's child, nearly all, cost no entry.
CREATE INDEX runs_by_parent ON runs (parent) WHERE parent <> 0;
CREATE INDEX runs_by_root ON runs (root) WHERE root <> 0;
