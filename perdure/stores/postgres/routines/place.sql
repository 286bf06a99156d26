-- Runs that come from elsewhere: their rows, those of an id in the order in which they come, with the keys they had there.
-- Of each the key that it has here and what became of it: true it is new, false it was here, NULL its id is another run's. With
-- one NULL the caller rolls back.
CREATE OR REPLACE FUNCTION perdure.place(given jsonb) RETURNS TABLE (new_key bigint, is_new boolean)
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '50s' AS $$
#variable_conflict use_column
DECLARE
    each   jsonb;
    made   runs;
    newest bigint;
    of     jsonb := '{}';  -- from (id, key there) to the key here
    ours   bigint[] := '{}';
BEGIN
    FOR each IN SELECT value FROM jsonb_array_elements(given) LOOP
        made := jsonb_populate_record(NULL::runs, each - 'run_id' - 'block');
        made.run_id := decode(each ->> 'run_id', 'base64');
        made.block := decode(each ->> 'block', 'base64');
        made.chain := coalesce((of ->> jsonb_build_array(made.id, made.chain)::text)::bigint, 0);
        made.followed_by := 0;
        made.parent := 0;
        made.root := 0;
        LOOP
            SELECT min(r.key) INTO new_key FROM runs r WHERE r.id = made.id AND r.run_id = made.run_id;
            is_new := false;
            EXIT WHEN new_key IS NOT NULL;
            newest := (SELECT r.key FROM runs r WHERE r.id = made.id AND r.followed_by = 0);
            IF newest IS NOT NULL AND newest <> ALL (ours) THEN
                is_new := NULL;
                EXIT;
            END IF;
            new_key := nextval('keys') * 2 + 1;
            is_new := true;
            BEGIN
                UPDATE runs r SET followed_by = new_key WHERE r.key = newest AND r.followed_by = 0;
                CONTINUE WHEN newest IS NOT NULL AND NOT FOUND;  -- somebody else has followed it
                made.key := new_key;
                INSERT INTO runs (
                    key, id, run_id, workflow, status, note, build, started_at, closed_at, wake_at, seq, block, open_tail,
                    strikes, followed_by, chain, request, expires_at, parent, root, pinned, owner
                ) VALUES (
                    made.key, made.id, made.run_id, made.workflow, made.status, made.note, made.build, made.started_at,
                    made.closed_at, made.wake_at, made.seq, made.block, made.open_tail, made.strikes, made.followed_by,
                    made.chain, made.request, made.expires_at, made.parent, made.root, made.pinned, made.owner
                );
                EXIT;
            EXCEPTION WHEN unique_violation THEN
                CONTINUE;  -- the id has got another newest run meanwhile
            END;
        END LOOP;
        IF is_new IS NULL THEN
            new_key := NULL;
        ELSE
            of := of || jsonb_build_object(jsonb_build_array(made.id, (each ->> 'key')::bigint)::text, new_key);
            ours := ours || new_key;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
