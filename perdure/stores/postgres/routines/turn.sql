-- What one turn of one run writes, when that is its summary and a part of its history and no more: the usual batch of an engine with
-- little to do, whose callers wait for each of them. They do what `commit` does, with plain values and every name in full: half of
-- what a batch takes in the server is reading its arrays, setting its search path, and planning to join them.
--
-- The errors are those of `commit`. The fence stands here, once more, for the same reason.

CREATE OR REPLACE FUNCTION perdure.commit_turn(
    me        bigint,
    my_term   bigint,
    of_run    bigint,
    status    smallint,
    note      text,
    closed_at bigint,
    wake_at   bigint,
    seq       bigint,
    before    bigint,
    part_seq  bigint,
    part      bytea,
    leaves    boolean
) RETURNS void LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
#variable_conflict use_variable
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'not in a transaction of READ COMMITTED' USING ERRCODE = 'PD006';
    END IF;
    PERFORM 1 FROM perdure.members m WHERE m.id = me AND m.alive AND m.term = my_term FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'member % was declared dead, or has gone on without this call', me USING ERRCODE = 'PD001';
    END IF;
    INSERT INTO perdure.history VALUES (of_run, part_seq, part);
    UPDATE perdure.runs r SET
        status = status, note = note, closed_at = closed_at, wake_at = wake_at, seq = seq,
        block = NULL, open_tail = false, strikes = 0, left_by = 0, deaths = CASE WHEN seq > r.seq THEN 0 ELSE r.deaths END,
        owner = CASE WHEN leaves THEN NULL ELSE r.owner END
    WHERE r.key = of_run AND (r.owner = me OR (r.owner IS NULL AND NOT leaves)) AND r.seq >= before;
    IF NOT FOUND THEN
        PERFORM perdure.lost_history() FROM perdure.runs r WHERE r.key = of_run AND r.seq < before;
        PERFORM 1 FROM perdure.runs r WHERE r.key = of_run;
        IF FOUND THEN
            RAISE EXCEPTION 'run % is not owned by member %', of_run, me USING ERRCODE = 'PD002';
        END IF;
        RAISE EXCEPTION 'run % is not there', of_run USING ERRCODE = 'PD003';
    END IF;
END $$;

-- A key for a run of this id, which nobody else gets; 0 if there is one that has the id.
CREATE OR REPLACE FUNCTION perdure.key_for(new_id text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM perdure.runs r WHERE r.id = new_id AND r.followed_by = 0) THEN
        RETURN 0;
    END IF;
    RETURN nextval('perdure.keys') * 2;
END $$;

-- The first turn of a new run that follows none and is nobody's child; and a key for the next one like it. Who has its id, in
-- a transaction that is open, is waited for but for a moment, as by `take_ids`.
CREATE OR REPLACE FUNCTION perdure.commit_start(
    me         bigint,
    my_term    bigint,
    new_run    bigint,
    id         text,
    run_id     bytea,
    workflow   text,
    status     smallint,
    note       text,
    build      text,
    started_at bigint,
    closed_at  bigint,
    wake_at    bigint,
    seq        bigint,
    request    text,
    expires_at bigint,
    pinned     text,
    part       bytea,
    leaves     boolean
) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
#variable_conflict use_variable
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'not in a transaction of READ COMMITTED' USING ERRCODE = 'PD006';
    END IF;
    PERFORM 1 FROM perdure.members m WHERE m.id = me AND m.alive AND m.term = my_term FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'member % was declared dead, or has gone on without this call', me USING ERRCODE = 'PD001';
    END IF;
    INSERT INTO perdure.runs (key, id, run_id, workflow, status, note, build, started_at, closed_at, wake_at, seq, open_tail, strikes,
                              followed_by, chain, request, expires_at, parent, root, pinned, owner)
    VALUES (new_run, id, run_id, workflow, status, note, build, started_at, closed_at, wake_at, seq, false, 0,
            0, 0, request, expires_at, 0, 0, pinned, CASE WHEN leaves THEN NULL ELSE me END);
    INSERT INTO perdure.history VALUES (new_run, 1, part);
    RETURN nextval('perdure.keys') * 2;
END $$;
