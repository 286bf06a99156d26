-- A batch of an owner, in one call, which is one transaction: nobody's process can stop in the middle of it. What nearly every
-- batch has comes as arrays, one for each column; `rest` has the lists of a Batch by their names, bytes as base64.
--
-- Errors: PD001 the member was declared dead; PD002 a letter was read by somebody else, or a run that is to be parked is not
-- this member's, or a run has not the history that this member knows (a failover has lost some of it); PD003 the batch is refused;
-- PD006 the transaction is not one of READ COMMITTED; 55P03 something is locked by others. Of the rows it writes this member has no
-- other transactions but short ones; an application that reuses the id of a run that has ended has the row of that for as long as
-- it likes. So nothing is waited for but for a moment, the member's own row for two seconds: the batch is divided then, and does without it.
CREATE OR REPLACE FUNCTION perdure.commit(
    me            bigint,
    my_term       bigint,
    decided_at    bigint,
    keys          bigint[],
    statuses      smallint[],
    notes         text[],
    closed        bigint[],
    wakes         bigint[],
    seqs          bigint[],
    befores       bigint[],
    history_runs  bigint[],
    history_seqs  bigint[],
    history_parts bytea[],
    read          bigint[],
    parked        bigint[],
    parked_seqs   bigint[],
    blob_runs     bigint[],
    blob_digests  bytea[],
    blob_data     bytea[],
    rest          jsonb
) RETURNS void LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '250ms' AS $$
#variable_conflict use_column
DECLARE
    changed bigint;
    there   bigint;
    others  bigint[];
BEGIN
    -- The fence comes first, in a statement of its own: everything after it sees what was committed before a takeover.
    PERFORM fence(me, my_term);
    IF cardinality(read) > 0 AND rest ? 'withdrawn' THEN
        PERFORM read_mail(read);  -- before runs go with all they have
    END IF;
    IF rest IS NOT NULL THEN
        PERFORM begin_rest(me, rest);
    END IF;
    IF cardinality(history_runs) > 0 THEN
        INSERT INTO history SELECT * FROM unnest(history_runs, history_seqs, history_parts);
    END IF;
    IF cardinality(keys) > 0 THEN
        UPDATE runs r SET
            status = u.status, note = u.note, closed_at = u.closed_at, wake_at = u.wake_at, seq = u.seq,
            block = NULL, open_tail = false, strikes = 0, left_by = 0, deaths = CASE WHEN u.seq > r.seq THEN 0 ELSE r.deaths END,
            owner = CASE WHEN p.key IS NULL THEN r.owner END
        FROM unnest(keys, statuses, notes, closed, wakes, seqs, befores)
                AS u(key, status, note, closed_at, wake_at, seq, before)
            LEFT JOIN unnest(parked, parked_seqs) AS p(key, seq) ON p.key = u.key
        WHERE r.key = u.key AND (r.owner = me OR (r.owner IS NULL AND p.key IS NULL)) AND r.seq >= u.before AND (p.key IS NULL OR p.seq = u.seq);
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed <> cardinality(keys) THEN
            PERFORM lost_history() FROM unnest(keys, befores) AS u(key, before) JOIN runs r ON r.key = u.key AND r.seq < u.before;
            SELECT count(*) INTO there FROM runs r WHERE r.key = ANY (keys);
            IF there = cardinality(keys) THEN
                RAISE EXCEPTION '% runs are not owned by member %', cardinality(keys) - changed, me USING ERRCODE = 'PD002';
            END IF;
            RAISE EXCEPTION '% of % runs are not there', cardinality(keys) - there, cardinality(keys)
                USING ERRCODE = 'PD003';
        END IF;
    END IF;
    IF cardinality(blob_runs) > 0 THEN
        INSERT INTO blobs SELECT * FROM unnest(blob_runs, blob_digests, blob_data) ON CONFLICT DO NOTHING;
    END IF;
    IF rest IS NOT NULL THEN
        PERFORM write_rest(rest);
    END IF;
    IF cardinality(read) > 0 AND (rest ? 'withdrawn') IS NOT TRUE THEN
        PERFORM read_mail(read);
    END IF;
    IF rest IS NOT NULL THEN
        PERFORM end_rest(rest, decided_at);
    END IF;
    -- Nearly all have been parked with their summaries: one version of the row is half the work of two, and nobody sees either
    -- before all of it is committed.
    others := ARRAY(SELECT k FROM unnest(parked) AS k WHERE k <> ALL (keys));
    IF cardinality(others) > 0 THEN
        UPDATE runs r SET owner = NULL
        FROM unnest(parked, parked_seqs) AS u(key, seq)
        WHERE r.key = u.key AND r.key = ANY (others) AND r.owner = me AND r.seq = u.seq;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed <> cardinality(others) THEN
            RAISE EXCEPTION '% runs are not owned by member %, or have gone on without it', cardinality(others) - changed, me
                USING ERRCODE = 'PD002';
        END IF;
    END IF;
END $$;

-- Letters go when they have been read, each once.
CREATE OR REPLACE FUNCTION perdure.read_mail(read bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
DECLARE
    changed bigint;
BEGIN
    DELETE FROM mail WHERE id = ANY (read);
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> cardinality(read) THEN
        RAISE EXCEPTION '% letters were read by another owner', cardinality(read) - changed USING ERRCODE = 'PD002';
    END IF;
END $$;

-- Whoever has asked knows more of a run than is written, and so must look at everything anew.
CREATE OR REPLACE FUNCTION perdure.lost_history() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a run has not the history that this member knows: the database has gone back' USING ERRCODE = 'PD002';
END $$;

-- What comes before the summaries of runs: who goes, who follows whom, who is new; then summaries with a block, and beginnings.
CREATE OR REPLACE FUNCTION perdure.begin_rest(me bigint, rest jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
DECLARE
    gone    bigint[];
    changed bigint;
BEGIN
    IF rest ? 'withdrawn' THEN
        gone := ARRAY(SELECT value::bigint FROM jsonb_array_elements_text(rest -> 'withdrawn'));
        -- Whoever was followed by a run that goes is the newest again. First the place of that run is made free.
        UPDATE runs SET followed_by = -key WHERE key = ANY (gone);
        UPDATE runs r SET followed_by = 0 FROM runs g WHERE g.key = ANY (gone) AND r.id = g.id AND r.followed_by = g.key;
        DELETE FROM mail WHERE run = ANY (gone);
        PERFORM forget(gone);
    END IF;
    IF rest ? 'followed' OR rest ? 'created' THEN
        PERFORM take_ids(me, rest);
    END IF;
    IF rest ? 'updated' THEN
        PERFORM lost_history()
        FROM jsonb_array_elements(rest -> 'seen') AS s JOIN runs r ON r.key = (s.value ->> 0)::bigint
        WHERE r.seq < (s.value ->> 1)::bigint;
        UPDATE runs r SET
            status = u.status, note = u.note, closed_at = u.closed_at, wake_at = u.wake_at, seq = u.seq,
            block = decode(u.block, 'base64'), open_tail = u.open_tail, strikes = u.strikes,
            left_by = 0, deaths = CASE WHEN u.seq > r.seq THEN 0 ELSE r.deaths END
        FROM jsonb_to_recordset(rest -> 'updated') AS u(
            key bigint, status smallint, note text, closed_at bigint, wake_at bigint, seq bigint, block text,
            open_tail boolean, strikes integer
        )
        WHERE r.key = u.key AND coalesce(r.owner, me) = me;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed <> jsonb_array_length(rest -> 'updated') THEN
            IF EXISTS (
                SELECT 1 FROM jsonb_array_elements(rest -> 'updated') AS u JOIN runs r ON r.key = (u.value ->> 'key')::bigint
                WHERE r.owner <> me
            ) THEN
                RAISE EXCEPTION 'a run is not owned by member %', me USING ERRCODE = 'PD002';
            END IF;
            RAISE EXCEPTION 'a run is not there' USING ERRCODE = 'PD003';
        END IF;
    END IF;
    IF rest ? 'begun' THEN  -- what is fixed from now on; they are among the others as well
        UPDATE runs r SET
            run_id = decode(u.run_id, 'base64'), workflow = u.workflow, build = u.build, started_at = u.started_at,
            expires_at = u.expires_at, pinned = u.pinned
        FROM jsonb_to_recordset(rest -> 'begun') AS u(
            key bigint, run_id text, workflow text, build text, started_at bigint, expires_at bigint, pinned text
        )
        WHERE r.key = u.key;
    END IF;
    IF rest ? 'pins' THEN
        UPDATE runs r SET pinned = p.value ->> 1
        FROM jsonb_array_elements(rest -> 'pins') AS p WHERE r.key = (p.value ->> 0)::bigint;
    END IF;
END $$;

-- Who is new, and who follows whom: an id has one newest run. Another transaction that is just giving the same id a run may be an
-- application's, and stay open for as long as it likes, while this one has the row of its member: so it is not waited for but for
-- a moment, and the batch is refused with 55P03 of this function.
CREATE OR REPLACE FUNCTION perdure.take_ids(me bigint, rest jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '100ms' AS $$
#variable_conflict use_column
DECLARE
    changed bigint;
BEGIN
    IF rest ? 'followed' THEN
        -- In one order, here and where ids are taken below: two owners that want the same ones do not wait in a circle.
        PERFORM 1 FROM runs
        WHERE key IN (
            SELECT k::bigint FROM jsonb_array_elements(rest -> 'followed') AS p, jsonb_array_elements_text(p.value) AS k
        )
        ORDER BY key FOR UPDATE;
        UPDATE runs r SET followed_by = (p.value ->> 1)::bigint
        FROM jsonb_array_elements(rest -> 'followed') AS p
        WHERE r.key = (p.value ->> 0)::bigint AND r.followed_by <= 0;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed <> jsonb_array_length(rest -> 'followed') THEN
            RAISE EXCEPTION 'a run was followed by another one meanwhile' USING ERRCODE = 'PD003';
        END IF;
        UPDATE runs r SET followed_by = 0
        FROM jsonb_array_elements(rest -> 'followed') AS p
        WHERE r.key = (p.value ->> 1)::bigint AND r.followed_by < 0;
    END IF;
    IF rest ? 'created' THEN
        INSERT INTO runs (key, id, run_id, workflow, status, note, build, started_at, closed_at, wake_at, seq, block, open_tail,
                          strikes, followed_by, chain, request, expires_at, parent, root, pinned, owner)
        SELECT key, id, decode(run_id, 'base64'), workflow, status, note, build, started_at, closed_at, wake_at, seq,
               decode(block, 'base64'), open_tail, strikes, followed_by, chain, request, expires_at, parent, root, pinned, me
        FROM jsonb_to_recordset(rest -> 'created') AS n(
            key bigint, id text, run_id text, workflow text, status smallint, note text, build text, started_at bigint,
            closed_at bigint, wake_at bigint, seq bigint, block text, open_tail boolean, strikes integer, followed_by bigint,
            chain bigint, request text, expires_at bigint, parent bigint, root bigint, pinned text
        )
        ORDER BY id COLLATE "C", key;
    END IF;
END $$;

-- What runs have beside their histories.
CREATE OR REPLACE FUNCTION perdure.write_rest(rest jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF rest ? 'attempts_kept' THEN
        UPDATE attempts a SET state = k.state, retry_at = k.retry_at
        FROM jsonb_to_recordset(rest -> 'attempts_kept')
            AS k(run bigint, step text, attempt bigint, state smallint, retry_at bigint)
        WHERE a.run = k.run AND a.step = k.step AND a.attempt = k.attempt;
    END IF;
    IF rest ? 'attempts' THEN
        INSERT INTO attempts
        SELECT run, step, attempt, state, member, started_at, ended_at, retry_at, counted, decode(detail, 'base64')
        FROM jsonb_to_recordset(rest -> 'attempts') AS a(
            run bigint, step text, attempt bigint, state smallint, member bigint, started_at bigint, ended_at bigint,
            retry_at bigint, counted bigint, detail text
        )
        ON CONFLICT (run, step, attempt) DO UPDATE SET
            state = EXCLUDED.state, member = EXCLUDED.member, started_at = EXCLUDED.started_at,
            ended_at = EXCLUDED.ended_at, retry_at = EXCLUDED.retry_at, counted = EXCLUDED.counted, detail = EXCLUDED.detail;
    END IF;
    IF rest ? 'attempts_dropped' THEN
        DELETE FROM attempts a USING jsonb_array_elements(rest -> 'attempts_dropped') AS d
        WHERE a.run = (d.value ->> 0)::bigint AND a.step = d.value ->> 1 AND a.attempt = (d.value ->> 2)::bigint;
    END IF;
    IF rest ? 'attributes' THEN
        DELETE FROM attributes a USING jsonb_to_recordset(rest -> 'attributes') AS n(run bigint, name text)
        WHERE a.run = n.run AND a.name = n.name;
        INSERT INTO attributes
        SELECT run, name, item, kind, text, number, float
        FROM jsonb_to_recordset(rest -> 'attributes') AS n(
            run bigint, name text, item integer, kind smallint, text text, number bigint, float double precision
        )
        WHERE item >= 0;
    END IF;
    IF rest ? 'updates' THEN
        INSERT INTO updates
        SELECT run, id, name, state, accepted_at, ended_at, decode(detail, 'base64')
        FROM jsonb_to_recordset(rest -> 'updates') AS u(
            run bigint, id text, name text, state smallint, accepted_at bigint, ended_at bigint, detail text
        )
        ON CONFLICT (run, id) DO UPDATE SET
            name = EXCLUDED.name, state = EXCLUDED.state, accepted_at = EXCLUDED.accepted_at,
            ended_at = EXCLUDED.ended_at, detail = EXCLUDED.detail;
    END IF;
    IF rest ? 'published' THEN
        INSERT INTO published
        SELECT run, name, at, decode(value, 'base64')
        FROM jsonb_to_recordset(rest -> 'published') AS p(run bigint, name text, at bigint, value text)
        ON CONFLICT (run, name) DO UPDATE SET at = EXCLUDED.at, value = EXCLUDED.value;
    END IF;
    IF rest ? 'tasks_gone_of' THEN
        DELETE FROM tasks WHERE run IN (SELECT value::bigint FROM jsonb_array_elements_text(rest -> 'tasks_gone_of'));
    END IF;
    IF rest ? 'tasks_gone' THEN
        DELETE FROM tasks t USING jsonb_array_elements(rest -> 'tasks_gone') AS d
        WHERE t.run = (d.value ->> 0)::bigint AND t.step = d.value ->> 1;
    END IF;
    IF rest ? 'tasks' THEN
        DELETE FROM tasks t USING jsonb_to_recordset(rest -> 'tasks') AS n(run bigint, step text)
        WHERE t.run = n.run AND t.step = n.step;
        INSERT INTO tasks (run, step, attempt, queue, name, start_by, body, member)
        SELECT run, step, attempt, queue, name, start_by, decode(body, 'base64'), 0
        FROM ROWS FROM (jsonb_to_recordset(rest -> 'tasks') AS (
            run bigint, step text, attempt bigint, queue text, name text, start_by bigint, body text
        )) WITH ORDINALITY AS n(run, step, attempt, queue, name, start_by, body, place)
        ORDER BY place;
    END IF;
    IF rest ? 'chunks' THEN
        PERFORM put_own_chunks(rest -> 'chunks');
    END IF;
    IF rest ? 'human_gone_of' THEN
        DELETE FROM human WHERE run IN (SELECT value::bigint FROM jsonb_array_elements_text(rest -> 'human_gone_of'));
    END IF;
    IF rest ? 'human_gone' THEN
        DELETE FROM human h USING jsonb_array_elements(rest -> 'human_gone') AS d
        WHERE h.run = (d.value ->> 0)::bigint AND h.step = d.value ->> 1;
    END IF;
    IF rest ? 'human' THEN
        INSERT INTO human
        SELECT run, step, title, ARRAY(SELECT jsonb_array_elements_text(assignees)), claimed_by, opened_at, due_at,
               remind_at, expires_at, reminders, overdue, decode(body, 'base64')
        FROM jsonb_to_recordset(rest -> 'human') AS h(
            run bigint, step text, title text, assignees jsonb, claimed_by text, opened_at bigint, due_at bigint,
            remind_at bigint, expires_at bigint, reminders integer, overdue boolean, body text
        )
        ON CONFLICT (run, step) DO UPDATE SET
            title = EXCLUDED.title, assignees = EXCLUDED.assignees, claimed_by = EXCLUDED.claimed_by,
            opened_at = EXCLUDED.opened_at, due_at = EXCLUDED.due_at, remind_at = EXCLUDED.remind_at,
            expires_at = EXCLUDED.expires_at, reminders = EXCLUDED.reminders, overdue = EXCLUDED.overdue,
            body = EXCLUDED.body;
    END IF;
END $$;

-- What comes after the letters that were read have gone.
CREATE OR REPLACE FUNCTION perdure.end_rest(rest jsonb, decided_at bigint) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF rest ? 'mail_excused' THEN
        UPDATE mail SET reply_to = '' WHERE id IN (SELECT value::bigint FROM jsonb_array_elements_text(rest -> 'mail_excused'));
    END IF;
    IF rest ? 'mail_kept' THEN
        INSERT INTO mail (run, kind, body, reply_to)
        SELECT run, kind, decode(body, 'base64'), reply_to
        FROM ROWS FROM (jsonb_to_recordset(rest -> 'mail_kept') AS (run bigint, kind smallint, body text, reply_to text))
            WITH ORDINALITY AS m(run, kind, body, reply_to, place)
        ORDER BY place;
    END IF;
    IF rest ? 'replies' THEN
        -- Some of those that have expired; others, and their owners, are not waited for. The rest goes with the next ones, or by `tidy`.
        DELETE FROM replies WHERE request IN (
            SELECT request FROM replies WHERE expires_at <= decided_at LIMIT 1000 FOR UPDATE SKIP LOCKED
        );
        INSERT INTO replies
        SELECT request, code, error, expires_at, decode(data, 'base64')
        FROM jsonb_to_recordset(rest -> 'replies') AS r(request text, code text, error text, expires_at bigint, data text)
        ON CONFLICT (request) DO UPDATE SET
            code = EXCLUDED.code, error = EXCLUDED.error, expires_at = EXCLUDED.expires_at, data = EXCLUDED.data;
    END IF;
END $$;

-- All that runs have but their mail, and they themselves.
CREATE OR REPLACE FUNCTION perdure.forget(gone bigint[]) RETURNS void
LANGUAGE sql SET search_path = perdure, pg_temp AS $$
    DELETE FROM chunks WHERE stream IN (SELECT id FROM streams WHERE run = ANY (gone));
    DELETE FROM streams WHERE run = ANY (gone);
    DELETE FROM writers WHERE run = ANY (gone);
    DELETE FROM history WHERE run = ANY (gone);
    DELETE FROM attempts WHERE run = ANY (gone);
    DELETE FROM attributes WHERE run = ANY (gone);
    DELETE FROM tasks WHERE run = ANY (gone);
    DELETE FROM updates WHERE run = ANY (gone);
    DELETE FROM published WHERE run = ANY (gone);
    DELETE FROM human WHERE run = ANY (gone);
    DELETE FROM blobs WHERE run = ANY (gone);
    DELETE FROM runs WHERE key = ANY (gone);
$$;
