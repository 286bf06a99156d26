-- Streams of runs: the owner's chunks come with its batches, those of attempts by themselves.
--
-- Error PD005 (of a commit, as PD003): a workflow writes to what one of its activities has closed; the message names which.

-- Put chunks behind what a stream holds, which is locked by the caller.
CREATE OR REPLACE FUNCTION perdure.put_chunks(
    run bigint, stream text, count bigint, size_bytes bigint, body bytea, step text, attempt bigint, closes boolean
) RETURNS void LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    held streams;
BEGIN
    UPDATE streams s SET
        chunks = s.chunks + put_chunks.count, size_bytes = s.size_bytes + put_chunks.size_bytes,
        closed_by = CASE WHEN closes THEN step END, closed_in = CASE WHEN closes THEN attempt END
    WHERE s.run = put_chunks.run AND s.name = stream
    RETURNING * INTO held;
    IF put_chunks.count > 0 THEN
        INSERT INTO chunks VALUES (held.id, held.chunks - put_chunks.count, put_chunks.count, step, attempt, body);
    END IF;
END $$;

-- In order, each an object with the fields of a ChunkRow; full streams take them, too.
CREATE OR REPLACE FUNCTION perdure.put_own_chunks(rows jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
DECLARE
    each record;
    held streams;
BEGIN
    FOR each IN SELECT * FROM jsonb_to_recordset(rows) AS c(
        run bigint, stream text, count bigint, size_bytes bigint, body text, step text, attempt bigint, closes boolean
    ) LOOP
        INSERT INTO streams (run, name, chunks, size_bytes) VALUES (each.run, each.stream, 0, 0) ON CONFLICT DO NOTHING;
        SELECT * INTO held FROM streams s WHERE s.run = each.run AND s.name = each.stream FOR UPDATE;
        IF held.closed_by <> '' AND each.count > 0 AND each.step = '' THEN
            RAISE EXCEPTION 'its workflow writes to the stream %, which attempt % of step [%] has closed',
                quote_literal(each.stream), held.closed_in, held.closed_by USING ERRCODE = 'PD005';
        END IF;
        PERFORM put_chunks(each.run, each.stream, each.count, each.size_bytes, decode(each.body, 'base64'), each.step,
                           each.attempt, each.closes);
    END LOOP;
END $$;

-- Chunks of attempts: what became of each, in their order. Of a worker its task has to be with it still; without one `me` has to
-- be an owner that lives. The run cannot end meanwhile; of one that has ended an application may have the row, for its next run.
-- What an attempt brings again, because it has not heard the answer, waits for what it has brought before, by the row of its step.
CREATE OR REPLACE FUNCTION perdure.append_chunks(
    me bigint, worker bigint, rows jsonb, most_streams bigint, most_chunks bigint, most_bytes bigint
) RETURNS SETOF text LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
    each   record;
    held   streams;
    writer writers;
BEGIN
    IF worker = 0 THEN
        PERFORM fence(me, NULL);
    ELSE
        PERFORM demand_read_committed();
    END IF;
    PERFORM 1 FROM runs
    WHERE key IN (SELECT c.run FROM jsonb_to_recordset(rows) AS c(run bigint)) AND closed_at IS NULL ORDER BY key FOR SHARE;
    FOR each IN SELECT * FROM jsonb_to_recordset(rows) AS c(
        run bigint, stream text, count bigint, size_bytes bigint, body text, step text, attempt bigint, closes boolean, number bigint
    ) LOOP
        IF NOT EXISTS (SELECT 1 FROM runs WHERE key = each.run AND closed_at IS NULL) OR (worker > 0 AND NOT EXISTS (
            SELECT 1 FROM tasks t
            WHERE t.run = each.run AND t.step = each.step AND t.attempt = each.attempt AND t.member = worker
        )) THEN
            RETURN NEXT 'unwanted';
            CONTINUE;
        END IF;
        IF each.number > 0 THEN
            SELECT * INTO writer FROM writers w WHERE w.run = each.run AND w.step = each.step FOR UPDATE;
            IF NOT FOUND THEN
                INSERT INTO writers VALUES (each.run, each.step, 0, 0) ON CONFLICT DO NOTHING;
                SELECT * INTO writer FROM writers w WHERE w.run = each.run AND w.step = each.step FOR UPDATE;
            END IF;
            IF writer.attempt < each.attempt THEN
                writer.number := 0;
            END IF;
            IF writer.attempt > each.attempt OR each.number > writer.number + 1 THEN
                RETURN NEXT 'unwanted';
                CONTINUE;
            ELSIF each.number <= writer.number THEN
                RETURN NEXT '';  -- it is there already
                CONTINUE;
            END IF;
        END IF;
        SELECT * INTO held FROM streams s WHERE s.run = each.run AND s.name = each.stream FOR UPDATE;
        IF NOT FOUND THEN
            IF (SELECT count(*) FROM streams s WHERE s.run = each.run) >= most_streams THEN
                RETURN NEXT 'too-many';
                CONTINUE;
            END IF;
            INSERT INTO streams (run, name, chunks, size_bytes) VALUES (each.run, each.stream, 0, 0) ON CONFLICT DO NOTHING;
            SELECT * INTO held FROM streams s WHERE s.run = each.run AND s.name = each.stream FOR UPDATE;
        END IF;
        IF held.closed_by IS NOT NULL AND NOT (held.closed_by = each.step AND held.closed_in < each.attempt) THEN
            RETURN NEXT 'closed';
        ELSIF held.chunks + each.count > most_chunks OR held.size_bytes + each.size_bytes > most_bytes THEN
            RETURN NEXT 'full';
        ELSE
            PERFORM put_chunks(each.run, each.stream, each.count, each.size_bytes, decode(each.body, 'base64'), each.step,
                               each.attempt, each.closes);
            IF each.number > 0 THEN
                UPDATE writers w SET attempt = each.attempt, number = each.number WHERE w.run = each.run AND w.step = each.step;
            END IF;
            RETURN NEXT '';
        END IF;
    END LOOP;
END $$;

-- What there is from an offset on: first how much the stream holds, and whether it ends there; then its rows, at least one.
CREATE OR REPLACE FUNCTION perdure.page(of_run bigint, stream text, wanted bigint, most_bytes bigint)
RETURNS TABLE (first bigint, ended boolean, step text, attempt bigint, body bytea)
LANGUAGE plpgsql STABLE SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
DECLARE
    held      streams;
    run_ended boolean;
BEGIN
    run_ended := NOT EXISTS (SELECT 1 FROM runs WHERE key = of_run AND closed_at IS NULL);
    SELECT * INTO held FROM streams s WHERE s.run = of_run AND s.name = stream;
    RETURN QUERY SELECT coalesce(held.chunks, 0), run_ended OR held.closed_by IS NOT NULL, NULL, NULL::bigint, NULL::bytea;
    IF held.id IS NULL OR wanted >= held.chunks THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT p.first, NULL::boolean, p.step, p.attempt, p.body
    FROM (
        SELECT c.*, sum(length(c.body)) OVER (ORDER BY c.first) AS size, row_number() OVER (ORDER BY c.first) AS place
        FROM chunks c
        WHERE c.stream = held.id AND c.first + c.count > wanted AND c.first >= coalesce(
            (SELECT max(b.first) FROM chunks b WHERE b.stream = held.id AND b.first <= wanted), 0
        )
    ) AS p
    WHERE p.place = 1 OR p.size <= most_bytes
    ORDER BY p.first;
END $$;
