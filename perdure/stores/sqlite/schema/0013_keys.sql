-- A key is given once: whoever still has that of a run that has gone must not meet another run.

-- The highest key of those that have gone.
CREATE TABLE keys_given (last_key INTEGER NOT NULL);

-- Of runs that went before there was this table nobody knows, unless they have left letters.
INSERT INTO keys_given SELECT coalesce(max(run), 0) FROM mail;
