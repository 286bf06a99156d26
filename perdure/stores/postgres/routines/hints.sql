-- Nudges. Each call is a transaction of its own, beside the one that has written what it tells of: transactions with a NOTIFY
-- commit one after the other, and those that users wait for must not. Nor do these wait for the disk while they have the turn.

-- Hint to the owners of these runs, and of each that nobody has to one member that knows its workflow; without keys to all.
CREATE OR REPLACE FUNCTION perdure.nudge(keys bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    IF cardinality(keys) = 0 THEN
        PERFORM pg_notify('perdure_' || id, '') FROM members WHERE alive AND NOT serves;
        RETURN;
    END IF;
    PERFORM pg_notify('perdure_' || t.member, '')
    FROM (
        SELECT DISTINCT coalesce(
            (SELECT m.id FROM members m WHERE m.id = r.owner AND m.alive),
            (
                SELECT m.id FROM members m JOIN beats b ON b.member = m.id
                WHERE m.alive AND NOT m.serves AND r.workflow = ANY (b.workflows) ORDER BY random() LIMIT 1
            )
        ) AS member
        FROM runs r WHERE r.key = ANY (keys)
    ) AS t
    WHERE t.member IS NOT NULL;
END $$;

-- Hint to these workers of queues.
CREATE OR REPLACE FUNCTION perdure.nudge_workers(workers bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_notify('perdure_' || w, '') FROM unnest(workers) AS w;
END $$;
