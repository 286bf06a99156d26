-- What anybody may write; also from plain SQL, in a transaction of an application.

-- Queue a run with its Start, if it gets its id (the policies are those of kernel/ids.py); else the run that has it. A client has
-- keys of its own: odd ones.
CREATE OR REPLACE FUNCTION perdure.submit(
    asked jsonb, start_kind smallint, start_body bytea, answer_to text, id_conflict text, id_reuse text, attributes jsonb
) RETURNS SETOF perdure.runs LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
DECLARE
    newest runs;
    made   runs;
BEGIN
    LOOP
        IF asked ->> 'request' <> '' THEN
            SELECT * INTO made FROM runs
            WHERE id = asked ->> 'id' AND request = asked ->> 'request' AND chain = 0 ORDER BY key DESC LIMIT 1;
            IF FOUND THEN
                RETURN NEXT made;
                RETURN;
            END IF;
        END IF;
        SELECT * INTO newest FROM runs WHERE id = asked ->> 'id' AND followed_by = 0;
        made := jsonb_populate_record(NULL::runs, asked - 'run_id' - 'block');
        made.run_id := decode(asked ->> 'run_id', 'base64');
        made.key := nextval('keys') * 2 + 1;
        made.followed_by := 0;
        made.claims := 0;
        made.deaths := 0;
        IF newest.key IS NOT NULL THEN
            IF newest.status < 7 THEN
                IF id_conflict <> 'terminate_existing' THEN
                    RETURN NEXT newest;
                    RETURN;
                END IF;
                made.followed_by := -made.key;
            ELSIF NOT (id_reuse = 'allow_duplicate' OR (id_reuse = 'allow_duplicate_failed_only' AND newest.status <> 7)) THEN
                RETURN NEXT newest;
                RETURN;
            END IF;
        END IF;
        BEGIN
            IF newest.status >= 7 THEN
                UPDATE runs SET followed_by = made.key WHERE key = newest.key AND followed_by = 0;
                CONTINUE WHEN NOT FOUND;  -- somebody else has followed it
            END IF;
            INSERT INTO runs SELECT made.*;
        EXCEPTION WHEN unique_violation THEN
            CONTINUE;  -- the id has got another newest run meanwhile
        END;
        INSERT INTO mail (run, kind, body, reply_to) VALUES (made.key, start_kind, start_body, answer_to);
        INSERT INTO attributes
        SELECT made.key, name, item, kind, text, number, float
        FROM jsonb_to_recordset(submit.attributes) AS n(
            name text, item integer, kind smallint, text text, number bigint, float double precision
        );
        made.claims := -1;  -- it is new
        RETURN NEXT made;
        RETURN;
    END LOOP;
END $$;
