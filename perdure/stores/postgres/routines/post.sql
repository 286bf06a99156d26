-- What anybody may write; also from plain SQL, in a transaction of an application.

-- Queue a run with its Start, if it gets its id (the policies are those of kernel/ids.py); else the run that has it. A client has
-- keys of its own: odd ones. The columns are named one by one, as a session keeps the plan of a query over rows of a table, whatever
-- becomes of the table.
CREATE OR REPLACE FUNCTION perdure.submit(
    asked jsonb, start_kind smallint, start_body bytea, answer_to text, id_conflict text, id_reuse text, attributes jsonb
) RETURNS TABLE (
    key bigint, id text, run_id bytea, workflow text, status smallint, note text, build text, started_at bigint,
    closed_at bigint, wake_at bigint, seq bigint, block bytea, open_tail boolean, strikes integer, followed_by bigint,
    chain bigint, request text, expires_at bigint, parent bigint, root bigint, pinned text, is_new boolean
) LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
DECLARE
    newest runs;
    same   runs;
    made   runs;
BEGIN
    is_new := false;
    LOOP
        IF asked ->> 'request' <> '' THEN
            SELECT * INTO made FROM runs
            WHERE id = asked ->> 'id' AND request = asked ->> 'request' AND chain = 0 ORDER BY key + 0 DESC LIMIT 1;
            EXIT WHEN FOUND;
        END IF;
        SELECT * INTO newest FROM runs WHERE id = asked ->> 'id' AND followed_by = 0;
        made := jsonb_populate_record(NULL::runs, asked - 'run_id' - 'block');
        made.run_id := decode(asked ->> 'run_id', 'base64');
        made.block := decode(asked ->> 'block', 'base64');
        made.key := nextval('keys') * 2 + 1;
        made.followed_by := 0;
        IF newest.key IS NOT NULL THEN
            IF (asked ->> 'again')::boolean THEN  -- the same start, whose answer was lost
                SELECT * INTO same FROM runs WHERE id = asked ->> 'id' AND run_id = made.run_id
                ORDER BY key + 0 DESC LIMIT 1;
                IF FOUND THEN
                    made := same;
                    EXIT;
                END IF;
            END IF;
            IF newest.status < 7 THEN
                IF id_conflict <> 'terminate_existing' THEN
                    made := newest;
                    EXIT;
                END IF;
                made.followed_by := -made.key;
            ELSIF NOT (id_reuse = 'allow_duplicate' OR (id_reuse = 'allow_duplicate_failed_only' AND newest.status <> 7)) THEN
                made := newest;
                EXIT;
            END IF;
        END IF;
        BEGIN
            IF newest.status >= 7 THEN
                UPDATE runs SET followed_by = made.key WHERE key = newest.key AND followed_by = 0;
                CONTINUE WHEN NOT FOUND;  -- somebody else has followed it
            END IF;
            -- Each column by its name: a later version adds some, which have defaults.
            INSERT INTO runs (
                key, id, run_id, workflow, status, note, build, started_at, closed_at, wake_at, seq, block, open_tail,
                strikes, followed_by, chain, request, expires_at, parent, root, pinned, owner
            ) VALUES (
                made.key, made.id, made.run_id, made.workflow, made.status, made.note, made.build, made.started_at,
                made.closed_at, made.wake_at, made.seq, made.block, made.open_tail, made.strikes, made.followed_by,
                made.chain, made.request, made.expires_at, made.parent, made.root, made.pinned, made.owner
            );
        EXCEPTION WHEN unique_violation THEN
            IF current_setting('transaction_isolation') <> 'read committed' THEN
                -- The one that has got it is not in the snapshot, however often one looks.
                RAISE EXCEPTION 'the id % has got a run since this transaction began', asked ->> 'id' USING
                    ERRCODE = 'serialization_failure', HINT = 'Roll back and do it again.';
            END IF;
            CONTINUE;  -- the id has got another newest run meanwhile
        END;
        INSERT INTO mail (run, kind, body, reply_to) VALUES (made.key, start_kind, start_body, answer_to);
        INSERT INTO attributes
        SELECT made.key, name, item, kind, text, number, float
        FROM jsonb_to_recordset(submit.attributes) AS n(
            name text, item integer, kind smallint, text text, number bigint, float double precision
        );
        is_new := true;
        EXIT;
    END LOOP;
    RETURN QUERY
    SELECT made.key, made.id, made.run_id, made.workflow, made.status, made.note, made.build, made.started_at,
        made.closed_at, made.wake_at, made.seq, made.block, made.open_tail, made.strikes, made.followed_by,
        made.chain, made.request, made.expires_at, made.parent, made.root, made.pinned, is_new;
END $$;

-- The same of a client of Perdure, in a transaction of its own: it gives up, with 55P03, before the client does.
CREATE OR REPLACE FUNCTION perdure.submit_alone(
    asked jsonb, start_kind smallint, start_body bytea, answer_to text, id_conflict text, id_reuse text, attributes jsonb
) RETURNS TABLE (
    key bigint, id text, run_id bytea, workflow text, status smallint, note text, build text, started_at bigint,
    closed_at bigint, wake_at bigint, seq bigint, block bytea, open_tail boolean, strikes integer, followed_by bigint,
    chain bigint, request text, expires_at bigint, parent bigint, root bigint, pinned text, is_new boolean
) LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '50s' AS $$
BEGIN
    RETURN QUERY SELECT * FROM submit(asked, start_kind, start_body, answer_to, id_conflict, id_reuse, attributes);
END $$;

-- Bytes in a text of JSON.
CREATE OR REPLACE FUNCTION perdure.base64(bytes bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT translate(encode(bytes, 'base64'), E'\n', '')
$$;

-- What tells this database from others, and from copies of it on the same server.
CREATE OR REPLACE FUNCTION perdure.mark() RETURNS text LANGUAGE sql STABLE SET search_path = perdure, pg_temp AS $$
    SELECT encode(sha256(value || convert_to(current_database(), 'UTF8')), 'hex') FROM secret
$$;

-- The workflows that are known, if that of this name is not and an engine lives that would say so; else NULL.
CREATE OR REPLACE FUNCTION perdure.known_instead_of(workflow text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = perdure, pg_temp AS $$
    SELECT array_agg(d.name ORDER BY d.name) FROM definitions d WHERE d.kind = 'workflow'
    HAVING NOT coalesce(bool_or(d.name = workflow), false)
        AND EXISTS (SELECT 1 FROM members m JOIN beats b ON b.member = m.id
                    WHERE m.alive AND NOT m.serves AND is_seen(b.seen_at, b.lease))
$$;

-- Hint, when the transaction commits, to one member that knows the workflow. Transactions with a NOTIFY commit one after the other,
-- so of those that are open at the same time only one has it; runs of the others are found by polling, a second later at most.
CREATE OR REPLACE FUNCTION perdure.nudge_at_commit(asked_workflow text) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
BEGIN
    IF pg_try_advisory_xact_lock(x'50445552'::integer, 1) THEN
        PERFORM pg_notify('perdure_' || t.id, '')
        FROM (
            SELECT m.id FROM members m JOIN beats b ON b.member = m.id
            WHERE m.alive AND NOT m.serves AND asked_workflow = ANY (b.workflows) ORDER BY random() LIMIT 1
        ) AS t;
    END IF;
END $$;

-- A start in a transaction of the application, from any driver. An ordinary refusal is an answer and no error, which would be the
-- end of that transaction. What is asked and answered: stores/postgres/enlisting.py.
CREATE OR REPLACE FUNCTION perdure.enlist(asked text) RETURNS text LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
DECLARE
    wish  jsonb := asked;
    known text[] := known_instead_of(wish -> 'row' ->> 'workflow');
    made  record;
BEGIN
    IF wish ->> 'mark' <> mark() THEN
        RETURN jsonb_build_object('elsewhere', current_database());
    END IF;
    IF known IS NOT NULL THEN
        RETURN jsonb_build_object('known', known);
    END IF;
    SELECT * INTO made FROM submit(
        wish -> 'row', (wish ->> 'kind')::smallint, decode(wish ->> 'body', 'base64'), '', wish ->> 'id_conflict',
        wish ->> 'id_reuse', wish -> 'attributes'
    );
    IF made.is_new THEN
        PERFORM nudge_at_commit(made.workflow);
        RETURN jsonb_build_object('key', made.key, 'followed_by', made.followed_by);
    END IF;
    RETURN jsonb_build_object(
        'row', to_jsonb(made) || jsonb_build_object('run_id', base64(made.run_id), 'block', base64(made.block))
    );
END $$;

CREATE OR REPLACE FUNCTION perdure.enlist_mail(asked text) RETURNS text
LANGUAGE sql SET search_path = perdure, pg_temp AS $$
    INSERT INTO mail (run, kind, body, reply_to)
    SELECT (wish ->> 'run')::bigint, (wish ->> 'kind')::smallint, decode(wish ->> 'body', 'base64'), ''
    FROM (SELECT asked::jsonb) AS a(wish);
    SELECT ''
$$;

CREATE OR REPLACE FUNCTION perdure.begin_of(asked text) RETURNS text
LANGUAGE sql STABLE SET search_path = perdure, pg_temp AS $$
    SELECT jsonb_build_object(
        'events', base64((SELECT h.events FROM history h WHERE h.run = (wish ->> 'run')::bigint ORDER BY h.seq LIMIT 1)),
        'start', base64((
            SELECT m.body FROM mail m
            WHERE m.run = (wish ->> 'run')::bigint AND m.kind = (wish ->> 'kind')::smallint ORDER BY m.id LIMIT 1
        ))
    )::text
    FROM (SELECT asked::jsonb) AS a(wish)
$$;

CREATE OR REPLACE FUNCTION perdure.blob_of(asked text) RETURNS text
LANGUAGE sql STABLE SET search_path = perdure, pg_temp AS $$
    SELECT coalesce((
        SELECT base64(b.data) FROM blobs b
        WHERE b.run = (wish ->> 'run')::bigint AND b.digest = decode(wish ->> 'digest', 'base64')
    ), '')
    FROM (SELECT asked::jsonb) AS a(wish)
$$;
