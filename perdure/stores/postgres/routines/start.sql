-- A start from plain SQL: from psql, a trigger, a driver of any language. It is part of the transaction that it is called in.
--
-- What it writes is what a client in Python would write: a message of the kernel is a msgpack array.

CREATE OR REPLACE FUNCTION perdure.pack_text(value text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN value IS NULL THEN '\xc0'::bytea
    ELSE '\xdb'::bytea || int4send(octet_length(convert_to(value, 'UTF8'))) || convert_to(value, 'UTF8') END
$$;

CREATE OR REPLACE FUNCTION perdure.pack_bytes(value bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT '\xc6'::bytea || int4send(octet_length(value)) || value
$$;

CREATE OR REPLACE FUNCTION perdure.pack_list(items bytea[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT '\xdd'::bytea || int4send(cardinality(items)) || coalesce((SELECT string_agg(i, ''::bytea ORDER BY n) FROM unnest(items)
        WITH ORDINALITY AS u(i, n)), '')
$$;

-- A value as JSON, for people and programs alike.
CREATE OR REPLACE FUNCTION perdure.pack_payload(value jsonb) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT '\x91'::bytea || perdure.pack_bytes(convert_to(value::text, 'UTF8'))
$$;

-- Attributes, a row for each value, as `submit` takes them. A number with a decimal point is a float.
CREATE OR REPLACE FUNCTION perdure.attribute_rows(attributes jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    found jsonb := '[]';
    each  record;
    kind  text;
BEGIN
    IF jsonb_typeof(attributes) <> 'object' THEN
        RAISE EXCEPTION 'perdure.start: attributes are an object, not %', attributes USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR each IN SELECT key AS name, value FROM jsonb_each(attributes) LOOP
        kind := jsonb_typeof(each.value);
        IF each.name !~ '^[A-Za-z_][A-Za-z0-9_.-]*$' OR each.name LIKE 'perdure.%' OR length(each.name) > 64 THEN
            RAISE EXCEPTION 'perdure.start: % cannot be the name of an attribute', quote_literal(each.name)
                USING ERRCODE = 'invalid_parameter_value', HINT = 'It begins with a letter and has at most 64 letters, digits, _ . or -';
        ELSIF (CASE
            WHEN kind <> 'number' THEN false
            WHEN each.value::text LIKE '%.%' THEN abs(each.value::numeric) > 1.7976931348623157e308
            ELSE each.value::numeric NOT BETWEEN -9223372036854775808 AND 9223372036854775807
        END) THEN
            RAISE EXCEPTION 'perdure.start: the attribute % is too large a number: %', each.name, left(each.value::text, 40) USING
                ERRCODE = 'invalid_parameter_value', HINT = 'Whole numbers have 64 bits, others are double precision. Or make it a text.';
        ELSIF kind = 'string' THEN
            found := found || jsonb_build_object('name', each.name, 'item', 0, 'kind', 1, 'text', each.value);
        ELSIF kind = 'number' AND each.value::text NOT LIKE '%.%' THEN
            found := found || jsonb_build_object('name', each.name, 'item', 0, 'kind', 2, 'number', each.value);
        ELSIF kind = 'number' THEN
            found := found || jsonb_build_object('name', each.name, 'item', 0, 'kind', 3, 'float', each.value);
        ELSIF kind = 'boolean' THEN
            found := found || jsonb_build_object('name', each.name, 'item', 0, 'kind', 4, 'number', each.value::boolean::integer);
        ELSIF kind = 'array' AND each.value <> '[]' AND NOT jsonb_path_exists(each.value, '$[*] ? (@.type() <> "string")') THEN
            found := found || (
                SELECT jsonb_agg(jsonb_build_object('name', each.name, 'item', n - 1, 'kind', 6, 'text', t) ORDER BY n)
                FROM (SELECT t, row_number() OVER (ORDER BY min(n)) AS n FROM jsonb_array_elements_text(each.value)
                    WITH ORDINALITY AS u(t, n) GROUP BY t) AS v
            );
        ELSE
            RAISE EXCEPTION 'perdure.start: the attribute % cannot be %', each.name, each.value USING
                ERRCODE = 'invalid_parameter_value', HINT = 'A text, a number, true or false, or a list of texts.';
        END IF;
    END LOOP;
    IF (SELECT count(*) FROM jsonb_object_keys(attributes)) > 50 OR octet_length(attributes::text) > 32768
        OR EXISTS (SELECT 1 FROM jsonb_array_elements(found) AS f WHERE length(f ->> 'text') > 500) THEN
        RAISE EXCEPTION 'perdure.start: a run has at most 50 attributes of 32 KiB in all, and a text in them at most 500 characters'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Keep the rest in its memo, or pass it as an argument.';
    END IF;
    RETURN found;
END $$;

CREATE OR REPLACE FUNCTION perdure.pack_attributes(attributes jsonb) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT perdure.pack_list(coalesce(array_agg(
        '\x93'::bytea || perdure.pack_text(name) || set_byte('\x00'::bytea, 0, kind) || perdure.pack_list(items) ORDER BY name
    ), '{}'))
    FROM (
        SELECT a.name, min(a.kind) AS kind, array_agg(coalesce(
            CASE WHEN a.text IS NOT NULL THEN perdure.pack_text(a.text) END,
            '\xd3'::bytea || int8send(a.number),
            '\xcb'::bytea || float8send(a.float)
        ) ORDER BY a.item) AS items
        FROM jsonb_to_recordset(attributes) AS a(
            name text, item integer, kind integer, text text, number bigint, float double precision
        )
        GROUP BY a.name
    ) AS one
$$;

-- Whether ids and requests may have these characters: what is no letter, mark, number, sign or plain blank can be told from others by no
-- eye, and Python takes it for unprintable. (Unicode: Cc, Cf, Zs, Zl, Zp and Co.)
CREATE OR REPLACE FUNCTION perdure.is_printable(value text) RETURNS boolean LANGUAGE sql IMMUTABLE SET standard_conforming_strings = on AS $$
    SELECT value !~ ('[\u0001-\u001F\u007F-\u00A0\u00AD\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2\u1680\u180E\u2000-\u200F\u2028-\u202F'
        '\u205F-\u206F\u3000\uE000-\uF8FF\uFEFF\uFFF9-\uFFFB\U000110BD\U000110CD\U00013430-\U0001343F\U0001BCA0-\U0001BCA3'
        '\U0001D173-\U0001D17A\U000E0001-\U000E007F\U000F0000-\U0010FFFF]')
$$;

-- Arguments, by position or by name, fit the parameters that a workflow has published: which there are, and which have to be given.
CREATE OR REPLACE FUNCTION perdure.demand_arguments(asked_workflow text, arguments jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = perdure, pg_temp AS $$
DECLARE
    known    jsonb;
    names    text[];
    takes    text;
    rest     boolean;
    missing  text[];
    surplus  text[];
BEGIN
    IF arguments IS NULL OR jsonb_typeof(arguments) NOT IN ('array', 'object') THEN
        RAISE EXCEPTION 'perdure.start: arguments are a list by position or an object by name, not %', coalesce(arguments::text, 'NULL') USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Write: arguments => jsonb_build_array(10, ''acct'')';
    END IF;
    IF octet_length(arguments::text) > 16777216 THEN
        RAISE EXCEPTION 'perdure.start: arguments of more than 16 MiB' USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Keep them elsewhere and pass a reference.';
    END IF;
    SELECT convert_from(parameters, 'UTF8')::jsonb INTO known FROM definitions WHERE kind = 'workflow' AND name = asked_workflow;
    IF known IS NULL THEN
        RETURN;
    END IF;
    names := ARRAY(SELECT jsonb_array_elements_text(known -> 'names'));
    rest := known -> 'schema' ? 'additionalProperties'
        OR EXISTS (SELECT 1 FROM jsonb_object_keys(coalesce(known -> 'schema' -> 'properties', '{}')) AS k WHERE k <> ALL (names));
    IF jsonb_typeof(arguments) = 'array' THEN
        missing := names[jsonb_array_length(arguments) + 1 : (known ->> 'required')::integer];
        IF NOT rest AND jsonb_array_length(arguments) > cardinality(names) THEN
            surplus := ARRAY[arguments ->> cardinality(names)];
        END IF;
    ELSE
        missing := ARRAY(SELECT n FROM unnest(names[1 : (known ->> 'required')::integer]) AS n WHERE NOT arguments ? n);
        IF NOT rest THEN
            surplus := ARRAY(SELECT k FROM jsonb_object_keys(arguments) AS k WHERE k <> ALL (names));
        END IF;
    END IF;
    IF cardinality(missing) > 0 OR cardinality(surplus) > 0 THEN
        takes := coalesce(nullif(array_to_string(names, ', '), ''), 'none');
        RAISE EXCEPTION 'perdure.start: the arguments do not fit workflow %: %', asked_workflow, concat_ws('; ',
            'missing: ' || nullif(array_to_string(missing, ', '), ''), 'too much: ' || nullif(array_to_string(surplus, ', '), '')
        ) USING ERRCODE = 'invalid_parameter_value', HINT = format('It takes: %s.', takes);
    END IF;
END $$;

-- Start a run, or attach to the one that has the id; the id. The run is there, and begins, if the transaction commits.
--
--   id           of your choice; NULL makes one.
--   id_conflict  if the newest run of the id is open: 'fail', 'use_existing' or 'terminate_existing'.
--   id_reuse     if it has ended: 'reject_duplicate', 'allow_duplicate' or 'allow_duplicate_failed_only'.
--   request_id   the same request made again gets the run that it has made, and makes no other one.
--   start_delay  how long it waits before it begins.
--   memo         an object of facts for people. attributes: one of facts by which runs are found.
--
-- Errors: undefined_object (no such workflow), unique_violation (the id is taken), invalid_parameter_value.
CREATE OR REPLACE FUNCTION perdure.start(
    workflow text, arguments jsonb DEFAULT '[]', id text DEFAULT NULL, request_id text DEFAULT NULL,
    id_conflict text DEFAULT 'fail', id_reuse text DEFAULT 'reject_duplicate', start_delay interval DEFAULT NULL,
    memo jsonb DEFAULT NULL, attributes jsonb DEFAULT NULL
) RETURNS text LANGUAGE plpgsql SET search_path = perdure, pg_temp SET standard_conforming_strings = on AS $$
#variable_conflict use_variable
DECLARE
    run_id   bytea := decode(replace(gen_random_uuid()::text, '-', ''), 'hex');
    known    text[] := known_instead_of(start.workflow);
    found_in jsonb := attribute_rows(coalesce(attributes, '{}'));
    now_ns   bigint := extract(epoch FROM clock_timestamp()) * 1000000000;
    delay_ns numeric := nullif(extract(epoch FROM start_delay), 0) * 1000000000;
    wake_at  bigint := CASE WHEN delay_ns IS NOT NULL THEN least(now_ns + delay_ns, 9223372036854775807) END;
    made     record;
BEGIN
    id := coalesce(id, right(start.workflow || '-' || substr(encode(run_id, 'hex'), 1, 16), 200));
    PERFORM demand_start(start.workflow, id, coalesce(request_id, ''), id_conflict, id_reuse, known);
    PERFORM demand_arguments(start.workflow, arguments);
    IF start_delay < '0' THEN
        RAISE EXCEPTION 'perdure.start: start_delay is an interval from now on, not %', start_delay USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(memo) <> 'object' OR octet_length(memo::text) > 32768 THEN
        RAISE EXCEPTION 'perdure.start: a memo is an object of at most 32 KiB' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT s.* INTO made FROM submit(
        jsonb_build_object(
            'id', id, 'run_id', base64(run_id), 'workflow', start.workflow, 'status', 0, 'note', '', 'build', '',
            'started_at', now_ns, 'wake_at', wake_at, 'seq', 0, 'open_tail', false, 'strikes', 0, 'chain', 0,
            'request', coalesce(request_id, ''), 'parent', 0, 'root', 0, 'pinned', ''
        ),
        1::smallint,
        '\x9b01'::bytea || pack_text(start.workflow) || pack_payload(arguments) || pack_bytes(run_id) || pack_text('') || '\xc2'::bytea
            || CASE
                WHEN request_id IS NULL AND found_in = '[]' THEN '\xc0'::bytea
                ELSE '\x96'::bytea || pack_text(coalesce(request_id, '')) || '\xc0c0c0c0'::bytea || pack_attributes(found_in)
            END
            || pack_text(id_conflict) || pack_text(id_reuse) || '\x90'::bytea
            || CASE WHEN memo IS NULL THEN '\xc0'::bytea ELSE pack_payload(memo) END,
        '', id_conflict, id_reuse, found_in
    ) AS s;
    IF made.is_new THEN
        PERFORM nudge_at_commit(start.workflow);
    ELSIF made.workflow <> start.workflow THEN
        RAISE EXCEPTION 'the id % belongs to a run of workflow %, and this start is of %', id, made.workflow, start.workflow
            USING ERRCODE = 'unique_violation', HINT = 'Choose another id.';
    ELSIF made.request = '' OR made.request IS DISTINCT FROM request_id THEN
        IF made.status >= 7 THEN
            RAISE EXCEPTION 'the id % belongs to a run that has ended', id USING ERRCODE = 'unique_violation',
                HINT = 'Choose another id, or say id_reuse => ''allow_duplicate''; or name the request by request_id, if it is the same.';
        ELSIF id_conflict <> 'use_existing' THEN
            RAISE EXCEPTION 'the id % belongs to a run that is open', id USING ERRCODE = 'unique_violation',
                HINT = 'Choose another id, or say id_conflict => ''use_existing''; or name the request by request_id, if it is the same.';
        END IF;
    END IF;
    RETURN made.id;
END $$;

COMMENT ON FUNCTION perdure.start IS 'Start a run of a workflow, as a part of this transaction, or attach to the one that has the id; returns the id. '
    'arguments: a list by position or an object by name. id: NULL makes one. request_id: made again, it gets the same run. '
    'id_conflict, if the run of that id is open: fail, use_existing, terminate_existing. '
    'id_reuse, if it has ended: reject_duplicate, allow_duplicate, allow_duplicate_failed_only. start_delay: an interval. memo, attributes: objects.';

CREATE OR REPLACE FUNCTION perdure.demand_start(
    workflow text, id text, request_id text, id_conflict text, id_reuse text, known text[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF workflow IS NULL OR known IS NOT NULL THEN
        RAISE EXCEPTION 'perdure.start: no engine knows a workflow %', coalesce(quote_literal(workflow), 'without a name') USING
            ERRCODE = 'undefined_object', HINT = format('They know: %s. Give it to an engine, or mend the name.', array_to_string(known, ', '));
    ELSIF id = '' OR length(id) > 200 OR id <> btrim(id) OR NOT perdure.is_printable(id) THEN
        RAISE EXCEPTION 'perdure.start: an id is a text of 1 to 200 printable characters, not %', quote_literal(id)
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF length(request_id) > 200 OR NOT perdure.is_printable(request_id) THEN
        RAISE EXCEPTION 'perdure.start: a request_id is a text of 1 to 200 printable characters' USING ERRCODE = 'invalid_parameter_value';
    ELSIF id_conflict IS NULL OR id_conflict NOT IN ('fail', 'use_existing', 'terminate_existing') THEN
        RAISE EXCEPTION 'perdure.start: id_conflict is fail, use_existing or terminate_existing, not %', id_conflict
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF id_reuse IS NULL OR id_reuse NOT IN ('reject_duplicate', 'allow_duplicate', 'allow_duplicate_failed_only') THEN
        RAISE EXCEPTION 'perdure.start: id_reuse is reject_duplicate, allow_duplicate or allow_duplicate_failed_only, not %', id_reuse
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;
