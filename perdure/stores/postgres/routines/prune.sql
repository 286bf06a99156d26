-- What is kept no longer. Nobody waits for anybody here, and a server that dies just then finds it all again: so none of it waits
-- for the disk.

-- Of the runs with the lowest keys behind `behind`, `most` of them, those that were closed before `closed_before` go, unless another
-- one of their family or chain is open, or they have mail, or somebody has them. Several may do so at the same time. How many have
-- gone; the key to go on behind, NULL at the end; and the key up to which none is left.
CREATE OR REPLACE FUNCTION perdure.prune(
    closed_before bigint, behind bigint, most bigint, of_workflow text, of_statuses smallint[], spared bigint[], counts_only boolean
) RETURNS TABLE (gone bigint, further bigint, cleared bigint)
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
    looked_at bigint[];
    is_end    boolean;
    busy      bigint[];
    old       bigint[];
    ids       text[];
    left_key  bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT coalesce(array_agg(p.key ORDER BY p.key), '{}'), count(*) < most OR bool_and(p.started_at >= closed_before)
    INTO looked_at, is_end
    FROM (SELECT r.key, r.started_at FROM runs r WHERE r.key > behind ORDER BY r.key LIMIT most) AS p;
    -- First of each family that has an open run.
    busy := ARRAY(
        SELECT f.root FROM (
            SELECT DISTINCT coalesce(nullif(r.root, 0), r.key) AS root FROM runs r
            WHERE r.key = ANY (looked_at) AND r.status >= 7 AND r.closed_at < closed_before
        ) AS f
        WHERE EXISTS (SELECT 1 FROM runs o WHERE o.key = f.root AND o.status < 7)
            OR EXISTS (SELECT 1 FROM runs o WHERE o.root = f.root AND o.root <> 0 AND o.status < 7)
    );
    old := ARRAY(
        SELECT r.key FROM runs r
        WHERE r.key = ANY (looked_at) AND r.status >= 7 AND r.closed_at < closed_before AND r.owner IS NULL
            AND (of_workflow IS NULL OR r.workflow = of_workflow)
            AND (cardinality(of_statuses) = 0 OR r.status = ANY (of_statuses))
            AND r.key <> ALL (spared)
            AND coalesce(nullif(r.root, 0), r.key) <> ALL (busy)
            AND NOT EXISTS (SELECT 1 FROM mail m WHERE m.run = r.key)
            AND (r.followed_by = 0 OR NOT EXISTS (
                SELECT 1 FROM runs n
                WHERE n.id = r.id AND n.followed_by = 0 AND n.status < 7
                    AND coalesce(nullif(n.chain, 0), n.key) = coalesce(nullif(r.chain, 0), r.key)
            ))
        ORDER BY r.key
    );
    IF NOT counts_only THEN
        old := ARRAY(SELECT r.key FROM runs r WHERE r.key = ANY (old) AND r.owner IS NULL ORDER BY r.key FOR UPDATE SKIP LOCKED);
        -- A letter that has come meanwhile is answered first. One that comes later is for a run that is not there.
        old := ARRAY(SELECT o FROM unnest(old) AS o WHERE NOT EXISTS (SELECT 1 FROM mail m WHERE m.run = o) ORDER BY o);
        ids := ARRAY(SELECT r.id FROM runs r WHERE r.key = ANY (old) AND r.followed_by = 0);
        PERFORM forget(old);
        UPDATE runs r SET followed_by = 0
        FROM (SELECT max(l.key) AS key FROM runs l WHERE l.id = ANY (ids) GROUP BY l.id) AS left_over
        WHERE r.key = left_over.key AND r.followed_by > 0;
    END IF;
    left_key := (SELECT min(k) FROM unnest(looked_at) AS k WHERE counts_only OR k <> ALL (old));
    RETURN QUERY SELECT
        cardinality(old)::bigint,
        CASE WHEN NOT is_end THEN looked_at[cardinality(looked_at)] END,
        coalesce((SELECT max(o) FROM unnest(old) AS o WHERE left_key IS NULL OR o < left_key), behind);
END $$;

-- Replies that have expired, members that have died and of which no run can tell, and what nobody living knows. So many at a
-- time: an owner waits for it; the next call goes on.
CREATE OR REPLACE FUNCTION perdure.tidy(now bigint) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    DELETE FROM replies r USING (
        SELECT e.request FROM replies e WHERE e.expires_at <= tidy.now ORDER BY e.expires_at LIMIT 10000 FOR UPDATE SKIP LOCKED
    ) AS expired WHERE r.request = expired.request;
    -- A run that begins later has never met it.
    UPDATE members m SET last_key = (SELECT coalesce(max(r.key), 0) FROM runs r)
    FROM (SELECT d.id FROM members d WHERE NOT d.alive AND d.last_key IS NULL LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED) AS dead
    WHERE m.id = dead.id;
    -- Those that have no run any more need not be looked at by polls again: nobody who is dead gets one.
    UPDATE members m SET emptied = true
    FROM (
        SELECT d.id FROM members d
        WHERE NOT d.alive AND NOT d.serves AND NOT d.emptied AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.owner = d.id)
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS e
    WHERE m.id = e.id;
    DELETE FROM beats b USING members m
    WHERE m.id = b.member AND NOT m.alive AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.owner = m.id);
    DELETE FROM members m USING (
        SELECT d.id FROM members d
        WHERE NOT d.alive AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.key <= d.last_key)
            AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.owner = d.id)
            AND d.last_key IS NOT NULL LIMIT 1000 FOR UPDATE SKIP LOCKED
    ) AS dead WHERE m.id = dead.id;
    DELETE FROM definitions d
    WHERE EXISTS (SELECT 1 FROM members m WHERE m.alive AND NOT m.serves)
        AND NOT EXISTS (SELECT 1 FROM members m WHERE m.id = ANY (d.members) AND m.alive);
END $$;
