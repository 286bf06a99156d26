-- Work for other processes. The row of a worker is what makes its word count: who deletes it waits for what that worker just
-- writes, and the worker finds it missing after that.
--
-- Error PD004: the worker has left, or was taken for dead.

CREATE OR REPLACE FUNCTION perdure.demand_worker(me bigint) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
BEGIN
    PERFORM demand_read_committed();
    PERFORM 1 FROM workers WHERE member = me FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'member % is no worker (any more)', me USING ERRCODE = 'PD004';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION perdure.join_workers(
    host text, pid bigint, build text, now bigint, queues text[], names text[], knows integer
) RETURNS bigint LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    me bigint;
BEGIN
    INSERT INTO members (id, host, pid, build, started_at, serves, knows) OVERRIDING SYSTEM VALUE
    VALUES (new_member(), host, pid, build, now, true, knows) RETURNING id INTO me;
    PERFORM demand_served(knows);
    INSERT INTO workers (member, queues, names, beat, lease) VALUES (me, queues, names, 0, lease_of_workers());
    RETURN me;
END $$;

-- How long a worker may be silent that beats now: as long as each of the owners allows that live. It is written with the beat, and
-- what is written there counts for all of them until the next one, whoever comes meanwhile, or goes.
CREATE OR REPLACE FUNCTION perdure.lease_of_workers() RETURNS bigint
LANGUAGE sql STABLE SET search_path = perdure, pg_temp AS $$
    SELECT coalesce(min(b.lease), 10000000000) FROM members m JOIN beats b ON b.member = m.id WHERE m.alive AND NOT m.serves
$$;

-- The mail TaskTaken, as the kernel's wire has it: an array of its tag, the step, the attempt and the member.
CREATE OR REPLACE FUNCTION perdure.task_taken(step text, attempt bigint, member bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT '\x9408'::bytea
        || '\xdb'::bytea || int4send(octet_length(step)) || convert_to(step, 'UTF8')
        || '\xcf'::bytea || int8send(attempt) || '\xcf'::bytea || int8send(member)
$$;

-- Bring endings, and take tasks, the oldest first: as many of each want (names, limit) as it says; in the queue `own` of one only those
-- of runs whose workflow is among its `workflows`, and that are not pinned to another build than its. Rows of two kinds: 0 the
-- place of an ending that was accepted, 1 a task.
CREATE OR REPLACE FUNCTION perdure.exchange(
    me bigint, end_runs bigint[], end_steps text[], end_attempts bigint[], end_kinds smallint[], end_bodies bytea[],
    blob_places bigint[], blob_runs bigint[], blob_digests bytea[], blob_data bytea[],
    my_queues text[], wants jsonb, now bigint, latest_start bigint, taken_kind smallint
) RETURNS TABLE (
    what integer, id bigint, run bigint, step text, attempt bigint, queue text, name text, start_by bigint, body bytea,
    member bigint, claimed_at bigint, details bytea
) LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' SET standard_conforming_strings = on AS $$
#variable_conflict use_column
DECLARE
    accepted bigint[] := '{}';
    want     record;
    took     boolean := false;
    oldest   bigint[];
    missing  bigint;
    behind   bigint;
    got      bigint;
BEGIN
    PERFORM demand_worker(me);
    IF cardinality(end_runs) > 0 THEN
        WITH gone AS (
            DELETE FROM tasks t USING unnest(end_runs, end_steps, end_attempts) WITH ORDINALITY AS e(run, step, attempt, place)
            WHERE t.run = e.run AND t.step = e.step AND t.attempt = e.attempt AND t.member = me
            RETURNING e.place
        )
        SELECT coalesce(array_agg(g.place ORDER BY g.place), '{}') INTO accepted FROM gone g;
        INSERT INTO mail (run, kind, body, reply_to)
        SELECT e.run, e.kind, e.body, '' FROM unnest(end_runs, end_kinds, end_bodies) WITH ORDINALITY AS e(run, kind, body, place)
        WHERE e.place = ANY (accepted) ORDER BY e.place;
        INSERT INTO blobs
        SELECT b.run, b.digest, b.data FROM unnest(blob_places, blob_runs, blob_digests, blob_data) AS b(place, run, digest, data)
        WHERE b.place = ANY (accepted) ON CONFLICT DO NOTHING;
        RETURN QUERY
        SELECT 0, a, NULL::bigint, NULL, NULL::bigint, NULL, NULL, NULL::bigint, NULL::bytea, NULL::bigint, NULL::bigint, NULL::bytea
        FROM unnest(accepted) AS a;
    END IF;
    FOR want IN
        SELECT * FROM jsonb_to_recordset(wants) AS w(names text[], most bigint, own text, workflows text[], build text)
    LOOP
        missing := want.most;
        behind := 0;
        -- They are looked for without locks, as there may be as many for each queue and name, and then locked until there are enough.
        WHILE missing > 0 LOOP
            oldest := ARRAY(
                SELECT o.id
                FROM unnest(my_queues) AS q, unnest(want.names) AS n, LATERAL (
                    SELECT t.id FROM tasks t
                    WHERE t.member = 0 AND t.queue = q AND t.name = n AND t.id > behind
                        AND (t.start_by IS NULL OR t.start_by > latest_start)
                        AND (q IS DISTINCT FROM want.own OR EXISTS (
                            SELECT 1 FROM runs r
                            WHERE r.key = t.run AND r.workflow = ANY (want.workflows) AND r.pinned IN ('', want.build)
                        ))
                    ORDER BY t.id LIMIT 2 * missing + 100
                ) AS o
                ORDER BY o.id LIMIT 2 * missing + 100
            );
            EXIT WHEN cardinality(oldest) = 0;
            behind := oldest[cardinality(oldest)];
            RETURN QUERY
            WITH locked AS (
                SELECT t.id FROM tasks t WHERE t.id = ANY (oldest) AND t.member = 0 ORDER BY t.id LIMIT missing FOR UPDATE SKIP LOCKED
            ), taken AS (
                UPDATE tasks t SET member = me, claimed_at = now FROM locked o WHERE t.id = o.id
                RETURNING t.id, t.run, t.step, t.attempt, t.queue, t.name, t.start_by, t.body, t.member, t.claimed_at, t.details
            ), told AS (
                INSERT INTO mail (run, kind, body, reply_to)
                SELECT k.run, taken_kind, task_taken(k.step, k.attempt, me), '' FROM taken k WHERE k.start_by IS NOT NULL ORDER BY k.id
            )
            SELECT 1, k.* FROM taken k ORDER BY k.id;
            GET DIAGNOSTICS got = ROW_COUNT;
            missing := missing - got;
            took := took OR got > 0;
        END LOOP;
    END LOOP;
    IF took THEN
        UPDATE workers SET used = true WHERE member = me AND NOT used;
    END IF;
END $$;

-- What there is for a worker: 0 a name of which tasks wait, 1 a task it has, 2 how long it may be silent (by its last beat, or by
-- the next one if that comes to less), 3 the server's time.
CREATE OR REPLACE FUNCTION perdure.look(me bigint, my_queues text[])
RETURNS TABLE (what integer, name text, run bigint, step text, attempt bigint)
LANGUAGE plpgsql STABLE SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
DECLARE
    my_lease bigint := (SELECT w.lease FROM workers w WHERE w.member = me);
BEGIN
    IF my_lease IS NULL THEN
        RAISE EXCEPTION 'member % is no worker (any more)', me USING ERRCODE = 'PD004';
    END IF;
    RETURN QUERY SELECT 0, w, NULL::bigint, NULL, NULL::bigint FROM waiting(my_queues) AS w;
    RETURN QUERY SELECT 1, NULL, t.run, t.step, t.attempt FROM tasks t WHERE t.member = me AND t.member > 0;
    RETURN QUERY SELECT 2, NULL, least(my_lease, lease_of_workers()), NULL, NULL::bigint;
    RETURN QUERY SELECT 3, NULL, clock(), NULL, NULL::bigint;
END $$;

-- From one activity to the next by the index, however many tasks of each there are.
CREATE OR REPLACE FUNCTION perdure.waiting(my_queues text[]) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = perdure, pg_temp AS $$
    WITH RECURSIVE queues AS (
        SELECT q AS queue, (SELECT min(t.name) FROM tasks t WHERE t.member = 0 AND t.queue = q) AS name FROM unnest(my_queues) AS q
    ), found AS (
        SELECT queue, name FROM queues
        UNION ALL
        SELECT f.queue, (SELECT min(t.name) FROM tasks t WHERE t.member = 0 AND t.queue = f.queue AND t.name > f.name)
        FROM found f WHERE f.name IS NOT NULL
    )
    SELECT DISTINCT name FROM found WHERE name IS NOT NULL ORDER BY name
$$;

-- It lives, and these are the latest details of its attempts. One that is just ending needs none, and is not waited for. What there
-- is for it is told by the same statement.
CREATE OR REPLACE FUNCTION perdure.beat(
    me bigint, my_queues text[], runs bigint[], steps text[], attempts bigint[], details bytea[]
) RETURNS TABLE (what integer, name text, run bigint, step text, attempt bigint) LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
#variable_conflict use_column
BEGIN
    UPDATE workers SET beat = beat + 1, seen_at = clock_timestamp(), lease = lease_of_workers() WHERE member = me;
    UPDATE tasks t SET details = h.details
    FROM (
        SELECT a.id, d.details FROM unnest(runs, steps, attempts, beat.details) AS d(run, step, attempt, details)
            JOIN tasks a ON a.run = d.run AND a.step = d.step AND a.attempt = d.attempt
        WHERE a.member = me FOR NO KEY UPDATE OF a SKIP LOCKED
    ) AS h
    WHERE t.id = h.id;
    RETURN QUERY SELECT * FROM look(me, my_queues);
END $$;

-- Take a worker for dead, if it has not beaten since; without a number in any case. One that has never taken a task is forgotten.
CREATE OR REPLACE FUNCTION perdure.bury(worker bigint, last_beat bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    was_used boolean;
BEGIN
    DELETE FROM workers WHERE member = worker AND beat = coalesce(last_beat, beat) RETURNING used INTO was_used;
    IF NOT FOUND THEN
        RETURN last_beat IS NULL;
    END IF;
    DELETE FROM members WHERE id = worker AND NOT was_used;
    UPDATE members SET alive = false WHERE id = worker AND alive;
    PERFORM end_lent(worker);
    RETURN true;
END $$;

-- End the transactions that a worker has lent to its attempts (stores/postgres/lending.py gives them that name): what they would
-- commit is refused, and what they have locked others wait for. That of another user this one may not be able to end, or to see; then it
-- keeps its locks until its process goes on, or the server finds its machine gone.
CREATE OR REPLACE FUNCTION perdure.end_lent(worker bigint) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
BEGIN
    PERFORM pg_terminate_backend(a.pid) FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.application_name LIKE 'perdure activity ' || worker || '.%' AND a.pid <> pg_backend_pid();
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END $$;

-- Tasks whose worker is gone are told to be lost, each once: the task goes and its letter comes.
CREATE OR REPLACE FUNCTION perdure.lose(
    runs bigint[], steps text[], attempts bigint[], workers bigint[], kind smallint, bodies bytea[]
) RETURNS void LANGUAGE sql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
    WITH gone AS (
        DELETE FROM tasks t USING unnest(runs, steps, attempts, workers, bodies) AS l(run, step, attempt, member, body)
        WHERE t.run = l.run AND t.step = l.step AND t.attempt = l.attempt AND t.member = l.member
        RETURNING t.id, t.run, l.body
    )
    INSERT INTO mail (run, kind, body, reply_to) SELECT run, lose.kind, body, '' FROM gone ORDER BY id
$$;

-- The end of a transactional activity, in its transaction. What is asked: stores/postgres/lending.py.
--
-- Errors: PD007 the task is not with that worker any more; PD006 the transaction is not one of READ COMMITTED.
CREATE OR REPLACE FUNCTION perdure.end_within(asked text) RETURNS void LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '10s' AS $$
DECLARE
    wish jsonb := asked;
BEGIN
    PERFORM demand_worker((wish ->> 'member')::bigint);
    DELETE FROM tasks t
    WHERE t.run = (wish ->> 'run')::bigint AND t.step = wish ->> 'step' AND t.attempt = (wish ->> 'attempt')::bigint
        AND t.member = (wish ->> 'member')::bigint;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'attempt % of % is not with member % any more', wish ->> 'attempt', wish ->> 'step', wish ->> 'member'
            USING ERRCODE = 'PD007';
    END IF;
    INSERT INTO mail (run, kind, body, reply_to)
    VALUES ((wish ->> 'run')::bigint, (wish ->> 'kind')::smallint, decode(wish ->> 'body', 'base64'), '');
    INSERT INTO blobs
    SELECT (wish ->> 'run')::bigint, decode(b ->> 0, 'base64'), decode(b ->> 1, 'base64') FROM jsonb_array_elements(wish -> 'blobs') AS b
    ON CONFLICT DO NOTHING;
END $$;
