-- Members that no run can tell of any more go.

-- Of one that is not there any more: the highest key of a run when that was found out. Who begins later has never met it.
ALTER TABLE members ADD COLUMN last_key INTEGER;
