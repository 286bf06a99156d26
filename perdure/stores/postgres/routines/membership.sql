-- Who owns what. Every call is one transaction of READ COMMITTED, in which each statement sees what was committed when it
-- began: what is claimed is claimed in one statement, and what it has is read in a later one.
--
-- Errors, after which nothing has happened: PD001 the member was declared dead; PD006 the transaction is not one of READ COMMITTED;
-- PD008 the code of the caller is not served any more; 55P03 what it waits for is locked for too long. Each has a limit for that, which is shorter than its caller's patience: calls that
-- nobody waits for any more must not pile up on the server, with the locks that they have.

CREATE OR REPLACE FUNCTION perdure.demand_read_committed() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'not in a transaction of READ COMMITTED' USING ERRCODE = 'PD006';
    END IF;
END $$;

-- `my_term`: a call that reaches the server after its connection was given up is of an earlier one (see `settle`), and refused. Of
-- a call that changes nothing if it comes late it is NULL.
CREATE OR REPLACE FUNCTION perdure.fence(me bigint, my_term bigint) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    PERFORM demand_read_committed();
    PERFORM 1 FROM members WHERE id = me AND alive AND term = coalesce(my_term, term) FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'member % was declared dead, or has gone on without this call', me USING ERRCODE = 'PD001';
    END IF;
END $$;

-- After the row of a new member is there: a migration that ends those which it does not serve has seen that, or is seen here.
CREATE OR REPLACE FUNCTION perdure.demand_served(knows integer) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
BEGIN
    IF (SELECT v.serves FROM version v) > knows THEN
        RAISE EXCEPTION 'a newer Perdure has changed the schema, which serves no code that knows schema % only', knows
            USING ERRCODE = 'PD008';
    END IF;
END $$;

-- The number of a new member. Numbers grow, so that the eldest has the lowest, and are partly drawn: a database that has gone back, by
-- a failover say, gives those of its sequence again, while members go on that have got them before. So nobody is ever taken for another
-- one, be it in a commit, by a beat or as whom a run or a task belongs to. They stay below 2^53, which all readers of JSON can read.
CREATE OR REPLACE FUNCTION perdure.new_member() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = perdure, pg_temp AS $$
    SELECT nextval('members_id_seq') * 16777216 + floor(random() * 16777216)::bigint
$$;

-- `before`: the member that the same process was until now, if any. It has lost sight of what that one had, and others are to go on
-- with it at once.
CREATE OR REPLACE FUNCTION perdure.join_members(
    host text, pid bigint, build text, now bigint, lease bigint, before bigint, knows integer
) RETURNS bigint LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
#variable_conflict use_variable
DECLARE
    me bigint;
BEGIN
    UPDATE members m SET alive = false, handed_over = true WHERE m.id = before AND m.alive;
    INSERT INTO members (id, host, pid, build, started_at, serves, knows) OVERRIDING SYSTEM VALUE
    VALUES (new_member(), host, pid, build, now, false, knows) RETURNING id INTO me;
    PERFORM demand_served(knows);
    INSERT INTO beats (member, beat, lease) VALUES (me, 0, lease);
    -- Earlier ones that have never committed are told of by nothing, once others have what they had claimed: until then their rows
    -- tell that they are dead.
    DELETE FROM members m USING beats b
    WHERE b.member = m.id AND NOT m.alive AND NOT b.used AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.owner = m.id);
    DELETE FROM beats b WHERE NOT EXISTS (SELECT 1 FROM members m WHERE m.id = b.member);
    RETURN me;
END $$;

-- Whether somebody was seen who beats several times in a lease. One that is the last to die is declared dead by nobody, and clients
-- need not wait for it; it is dead only when it is declared so.
CREATE OR REPLACE FUNCTION perdure.is_seen(seen_at timestamptz, lease bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT seen_at > clock_timestamp() - make_interval(secs => lease / 1e9 + 10)
$$;

-- It has committed.
CREATE OR REPLACE FUNCTION perdure.remember(me bigint) RETURNS void
LANGUAGE sql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
    UPDATE beats SET used = true WHERE member = me AND NOT used
$$;

-- Whether a letter is for its run's owner now. Of blocked (5) and quarantined (6) runs only Terminate (4), Retry (5),
-- Update (10), Query (11) and Move (27), and what another run waits for (@), which is to be told that it will be taken later. The Start (1) of a run that is queued (0)
-- and begins later is found by the time at which it is due. Without `starts` what a run that has not begun cannot take yet,
-- Start and Cancel (3), must not stand before what others can.
CREATE OR REPLACE FUNCTION perdure.is_awaited(
    kind smallint, reply_to text, starts boolean, status smallint, wake_at bigint, followed_by bigint
) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT (status IS NULL OR status NOT IN (5, 6) OR kind IN (4, 5, 10, 11, 27) OR left(reply_to, 1) = '@')
        AND NOT (kind = 1 AND reply_to = '' AND status IS NOT DISTINCT FROM 0::smallint AND wake_at IS NOT NULL AND followed_by >= 0)
        AND (starts OR (kind <> 1 AND NOT (kind = 3 AND status IS NOT DISTINCT FROM 0::smallint)))
$$;

-- Whether a member may claim a run, as far as the code goes: `theirs` are workflows that only others know, `builds` those that others
-- have. A function that the planner puts in its place.
CREATE OR REPLACE FUNCTION perdure.is_for(
    status smallint, workflow text, pinned text, my_build text, theirs text[], builds text[]
) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT status >= 7 OR ((pinned = '' OR pinned = my_build OR pinned <> ALL (builds)) AND workflow <> ALL (theirs))
$$;

-- So many letters a poll looks at.
CREATE OR REPLACE FUNCTION perdure.letters_at_once() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 20000::bigint $$;

-- So many bytes of them it tells of, and those of the one that comes to that.
CREATE OR REPLACE FUNCTION perdure.letter_bytes_at_once() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 4194304::bigint $$;

-- A letter that says so much has its turn with that one of another run which so many letters of the usual size come before.
CREATE OR REPLACE FUNCTION perdure.letter_bytes() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT 4096::bigint $$;

-- The letters for a member, at most so many. If there are more, of each run the oldest: the runs have their turns, and who has been sent
-- very much, or very large letters, keeps nobody waiting. The oldest letter of all is among them, whatever it weighs.
-- Mail of no run that there is goes to the eldest member: who reads what somebody else has read must not write.
CREATE OR REPLACE FUNCTION perdure.letters_of(me bigint, most bigint, starts boolean)
RETURNS TABLE (id bigint, run bigint, body bytea, reply_to text)
LANGUAGE plpgsql STABLE SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
DECLARE
    low       bigint := (SELECT b.mail_from FROM beats b WHERE b.member = me);
    after     bigint := (SELECT greatest(b.mail_after, b.mail_from - 1) FROM beats b WHERE b.member = me);
    is_eldest boolean := me = (SELECT min(m.id) FROM members m WHERE m.alive AND NOT m.serves);
    number    bigint := (SELECT count(*) FROM (
        SELECT 1 FROM mail l WHERE l.id >= low ORDER BY l.id LIMIT letters_at_once() + 1
    ) AS first_ones);
    keys      bigint[];
    share     bigint := most;
BEGIN
    -- By the letters while they are few, else by the runs that the member has: so either way it costs no more than so many. A run is
    -- looked at once, however many letters it has: those of a blocked one wait for as long as it does.
    -- OFFSET 0 keeps the planner from reading all runs for a few letters, before it has seen how many runs there are.
    IF number <= letters_at_once() THEN
        keys := ARRAY(
            SELECT d.run
            FROM (
                SELECT DISTINCT n.run FROM (SELECT l.run FROM mail l WHERE l.id >= low ORDER BY l.id LIMIT letters_at_once()) AS n
            ) AS d
                LEFT JOIN LATERAL (SELECT * FROM runs r WHERE r.key = d.run OFFSET 0) AS r ON true
            WHERE r.owner = me OR (r.key IS NULL AND is_eldest)
        );
    ELSE
        keys := ARRAY(
            SELECT f.run FROM (
                SELECT r.key AS run, l.id
                FROM runs r CROSS JOIN LATERAL (
                    SELECT l.id FROM mail l
                    WHERE l.run = r.key AND is_awaited(l.kind, l.reply_to, starts, r.status, r.wake_at, r.followed_by)
                    ORDER BY l.run, l.id LIMIT 1
                ) AS l
                WHERE r.owner = me
                UNION ALL
                SELECT l.run, min(l.id)
                FROM (SELECT * FROM mail l WHERE l.id > after ORDER BY l.id LIMIT letters_at_once()) AS l
                    LEFT JOIN LATERAL (SELECT r.key FROM runs r WHERE r.key = l.run OFFSET 0) AS r ON true
                WHERE is_eldest AND r.key IS NULL AND is_awaited(l.kind, l.reply_to, starts, NULL, NULL, NULL)
                GROUP BY l.run
            ) AS f ORDER BY f.id LIMIT most
        );
        share := greatest(most / greatest(cardinality(keys), 1), 1);
    END IF;
    IF number <= least(most, letters_at_once())
        AND (SELECT coalesce(sum(octet_length(l.body)), 0) FROM mail l WHERE l.id >= low) < letter_bytes_at_once()
    THEN
        RETURN QUERY
        SELECT l.id, l.run, l.body, l.reply_to
        FROM unnest(keys) AS k(key)
            LEFT JOIN LATERAL (SELECT * FROM runs r WHERE r.key = k.key OFFSET 0) AS r ON true
            CROSS JOIN LATERAL (
                SELECT * FROM mail l
                WHERE l.run = k.key AND is_awaited(l.kind, l.reply_to, starts, r.status, r.wake_at, r.followed_by)
                ORDER BY l.run, l.id LIMIT most
            ) AS l
        ORDER BY l.id;
    ELSE
        RETURN QUERY
        SELECT m.id, m.run, m.body, m.reply_to
        FROM unnest(by_turns(keys, most, share, starts)) AS t(id)
            CROSS JOIN LATERAL (SELECT * FROM mail m WHERE m.id = t.id OFFSET 0) AS m
        ORDER BY m.id;
    END IF;
END $$;

-- Which letters of these runs a poll tells of. It looks at the first `share` of each, and at more of them only if these do not make up
-- what is told: so it costs no more than a few times as many.
CREATE OR REPLACE FUNCTION perdure.by_turns(keys bigint[], most bigint, share bigint, starts boolean) RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
DECLARE
    told   bigint[];
    enough boolean;
BEGIN
    LOOP
        SELECT
            array_agg(t.id) FILTER (WHERE t.turn <= most AND t.earlier < letter_bytes_at_once()),
            by_turns.share >= most OR bool_and(t.number < by_turns.share) IS NOT FALSE
                OR count(*) FILTER (WHERE t.place <= by_turns.share) >= most
                OR sum(t.size) FILTER (WHERE t.place <= by_turns.share) >= letter_bytes_at_once()
        INTO told, enough
        FROM (
            SELECT
                p.id, p.number, p.place, p.size,
                row_number() OVER (ORDER BY p.place, p.id) AS turn, sum(p.size) OVER (ORDER BY p.place, p.id) - p.size AS earlier
            FROM (
                SELECT
                    n.id, n.number,
                    CASE WHEN n.id = n.oldest THEN 0 ELSE greatest(n.number, n.bytes / letter_bytes()) END AS place,
                    CASE WHEN n.id = n.oldest THEN least(n.size, letter_bytes_at_once() / 2) ELSE n.size END AS size
                FROM (
                    SELECT
                        l.id, l.size, min(l.id) OVER () AS oldest, row_number() OVER of_run AS number, sum(l.size) OVER of_run AS bytes
                    FROM unnest(keys) AS k(key)
                        LEFT JOIN LATERAL (SELECT * FROM runs r WHERE r.key = k.key OFFSET 0) AS r ON true
                        CROSS JOIN LATERAL (
                            SELECT l.id, l.run, octet_length(l.body) AS size FROM mail l
                            WHERE l.run = k.key AND is_awaited(l.kind, l.reply_to, starts, r.status, r.wake_at, r.followed_by)
                            ORDER BY l.run, l.id LIMIT by_turns.share
                        ) AS l
                    WINDOW of_run AS (PARTITION BY l.run ORDER BY l.id)
                ) AS n
            ) AS p
        ) AS t;
        EXIT WHEN enough;
        share := least(4 * share, most);
    END LOOP;
    RETURN told;
END $$;

-- What there is to do for a member, of these kinds: 1 a letter (id, run), 2 a run that is due, 3 the beat of a worker, and the
-- lease that goes with it.
CREATE OR REPLACE FUNCTION perdure.work(me bigint, due_until bigint, most bigint, starts boolean)
RETURNS TABLE (kind integer, a bigint, b bigint, c bigint, d integer, e boolean, body bytea, reply_to text)
LANGUAGE plpgsql STABLE SET search_path = perdure, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT 1, l.id, l.run, NULL::bigint, NULL::integer, NULL::boolean, l.body, l.reply_to
    FROM letters_of(me, most, starts) AS l ORDER BY l.id;
    RETURN QUERY
    SELECT 2, r.key, r.wake_at, NULL::bigint, NULL::integer, NULL::boolean, NULL::bytea, NULL
    FROM runs r
    WHERE r.owner = me AND r.wake_at <= due_until AND r.status < 7 AND (starts OR r.status <> 0)
    ORDER BY r.wake_at, r.key LIMIT most;
    RETURN QUERY
    SELECT 3, w.member, w.beat, w.lease, NULL::integer, NULL::boolean, NULL::bytea, NULL FROM workers w;
END $$;

-- Those that do not live, and may have runs.
CREATE OR REPLACE FUNCTION perdure.dead_owners() RETURNS SETOF bigint
LANGUAGE sql STABLE SET search_path = perdure, pg_temp AS $$
    SELECT m.id FROM members m WHERE NOT m.alive AND NOT m.serves AND NOT m.emptied
$$;

-- Where mail begins, for a member that polls. What was read leaves its places in the indexes until the oldest snapshot is gone, be it
-- that of a backup which takes hours, and nobody wants to pass them by at each poll. Numbers are given before transactions
-- commit, so what nobody sees may still come; but not any more when all transactions have ended that were open when the number had been
-- given. One that was given to a transaction which was nothing yet, not even open, is found when everything is looked at, which is
-- done once in a while.
CREATE OR REPLACE FUNCTION perdure.look_for_mail(me bigint, OUT low bigint, OUT next bigint, OUT xid bigint)
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
DECLARE
    given  bigint := coalesce(pg_sequence_last_value('mail_id_seq'), 0) + 1;  -- before the snapshot that follows
    first  bigint;
    oldest bigint;
    newest bigint;
BEGIN
    SELECT CASE WHEN b.beat % 32 <> 0 THEN b.mail_from ELSE 0 END, b.mail_next, b.mail_xid INTO low, next, xid
    FROM beats b WHERE b.member = me;
    SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint, f INTO oldest, newest, first
    FROM (
        SELECT pg_current_snapshot() AS s, (SELECT l.id FROM mail l WHERE l.id >= low ORDER BY l.id LIMIT 1) AS f
    ) AS seen;
    IF oldest >= xid THEN
        low := greatest(low, least(next, first));
        next := coalesce(first, given);
        xid := newest;
    END IF;
END $$;

-- The server's clock, in nanoseconds: the one that counts on all machines.
CREATE OR REPLACE FUNCTION perdure.clock() RETURNS bigint LANGUAGE sql VOLATILE SET search_path = perdure, pg_temp AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint
$$;

-- Which of the lives of a database this is: another one after each failover, and after each restoring. 0: the server does not tell.
CREATE OR REPLACE FUNCTION perdure.timeline() RETURNS bigint LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
BEGIN
    RETURN ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint;
EXCEPTION WHEN OTHERS THEN
    RETURN 0;
END $$;

-- Beat, claim, and tell what there is to do, as rows of several kinds: 0 a run that was claimed (key, claims, whose it was,
-- deaths, whether that one died in its turn), those of `work`, 4 the beat of another owner, and 5 the
-- own one, with the timeline, the server's time and whether this member is to look at runs that wait for other code, and 6 a key for
-- a new run. `again`: the answer to an earlier
-- call did not come; what the member has already is told as well, as left by itself if it was written since it was claimed.
CREATE OR REPLACE FUNCTION perdure.poll(
    me bigint, my_term bigint, due_until bigint, most bigint, most_claims bigint, starts boolean, again boolean
) RETURNS TABLE (kind integer, a bigint, b bigint, c bigint, d integer, e boolean, body bytea, reply_to text)
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
    my_build text;
    mine     text[];
    my_beat  bigint;
    dead     bigint[];
    enough   bigint := 4 * most_claims + 100;  -- some of them others have just locked
    after    bigint;
    theirs   text[];
    builds   text[];
    unmended boolean;
    mail_low  bigint;
    mail_then bigint;
    mail_when bigint;
BEGIN
    PERFORM fence(me, my_term);
    SELECT m.build INTO my_build FROM members m WHERE m.id = me;
    SELECT * INTO mail_low, mail_then, mail_when FROM look_for_mail(me);
    UPDATE beats SET
        beat = beat + 1, seen_at = clock_timestamp(), mail_from = mail_low, mail_next = mail_then, mail_xid = mail_when
    WHERE member = me
    RETURNING workflows, beat, greatest(mail_after, mail_low - 1) INTO mine, my_beat, after;
    -- In the order of an index that has only these.
    unmended := NOT EXISTS (SELECT 1 FROM members m WHERE m.alive AND NOT m.serves AND m.build = my_build AND m.id < me)
        AND (SELECT r.key FROM runs r WHERE r.owner IS NULL AND r.status IN (4, 5) ORDER BY r.key LIMIT 1) IS NOT NULL;
    RETURN QUERY SELECT 5, my_beat, timeline(), clock(), NULL::integer, unmended, NULL::bytea, NULL;
    RETURN QUERY SELECT 6, nextval('keys') * 2, 0::bigint, 0::bigint, NULL::integer, NULL::boolean, NULL::bytea, NULL;
    IF again THEN
        RETURN QUERY
        SELECT 0, r.key, r.claims, CASE r.left_by WHEN 0 THEN me ELSE r.left_by END, r.deaths,
               EXISTS (SELECT 1 FROM beats s WHERE s.member = r.left_by AND s.turn = r.key), NULL::bytea, NULL
        FROM runs r WHERE r.owner = me ORDER BY r.key;
    END IF;
    IF most_claims > 0 THEN
        dead := ARRAY(SELECT dead_owners());
        -- What nobody's code is for has to be told by somebody; what is for that of others only is left to them.
        theirs := ARRAY(
            SELECT DISTINCT w FROM members m JOIN beats b ON b.member = m.id CROSS JOIN unnest(b.workflows) AS w
            WHERE m.alive AND NOT m.serves AND m.id <> me AND w <> ALL (mine)
        );
        builds := ARRAY(
            SELECT DISTINCT m.build FROM members m WHERE m.alive AND NOT m.serves AND m.id <> me AND m.build <> my_build
        );
        RETURN QUERY
        -- Mail is read once, whatever is known of its size: a table through which much goes is taken for empty at times, while it
        -- is full of letters that were read and that somebody's open snapshot keeps. Of very many letters a part is looked at,
        -- and the next one when there is no more to claim for them than what they have their turn for: however many are due. Once in
        -- a while it begins from the first one all the same, for whom was passed by and may be claimed since: however many are sent.
        WITH letters AS MATERIALIZED (
            SELECT n.run, n.kind, n.reply_to, min(n.id) AS id, max(n.id) AS last, count(*) AS number FROM (
                SELECT l.id, l.run, l.kind, CASE WHEN l.kind = 1 THEN l.reply_to WHEN left(l.reply_to, 1) = '@' THEN '@' ELSE '' END AS reply_to
                FROM mail l WHERE l.id > after ORDER BY l.id LIMIT letters_at_once()
            ) AS n
            GROUP BY n.run, n.kind, n.reply_to ORDER BY min(n.id)  -- of a run that waits there may be very many
        ), wanted AS (
            (SELECT r.key, 0 AS place, 0 AS by_mail FROM runs r
             WHERE starts AND r.owner = ANY (dead) AND is_for(r.status, r.workflow, r.pinned, my_build, theirs, builds)
             LIMIT enough)
            UNION ALL
            SELECT d.key, 2 * row_number() OVER (ORDER BY d.wake_at, d.key) - my_beat % 2, 0 FROM (
                SELECT r.key, r.wake_at FROM runs r
                WHERE (r.owner IS NULL OR (NOT starts AND r.owner = ANY (dead)))
                    AND r.wake_at <= due_until AND r.status < 7 AND (starts OR r.status <> 0)
                    AND is_for(r.status, r.workflow, r.pinned, my_build, theirs, builds)
                ORDER BY r.wake_at LIMIT enough
            ) AS d
            UNION ALL
            SELECT s.key, 2 * row_number() OVER (ORDER BY min(s.id)) - (my_beat + 1) % 2, 1 FROM (
                SELECT r.key, l.id
                FROM letters l CROSS JOIN LATERAL (SELECT * FROM runs r WHERE r.key = l.run OFFSET 0) AS r
                WHERE (r.owner IS NULL OR (NOT starts AND r.owner = ANY (dead)))
                    AND is_awaited(l.kind, l.reply_to, starts, r.status, r.wake_at, r.followed_by)
                    AND is_for(r.status, r.workflow, r.pinned, my_build, theirs, builds)
                LIMIT enough
            ) AS s GROUP BY s.key
        ), places AS MATERIALIZED (
            SELECT
                array_agg(w.key ORDER BY w.key) AS keys, array_agg(w.place ORDER BY w.key) AS places,
                coalesce(sum(w.by_mail), 0) AS by_mail
            FROM (SELECT w.key, min(w.place) AS place, max(w.by_mail) AS by_mail FROM wanted w GROUP BY w.key) AS w
        ), mine_now AS (
            -- Those that are due, and those with mail, come by turns, also those of the dead if there is no room for all of these: if there is room for one, by turns of the polls. Whatever the
            -- planner thinks of their number, runs are looked up by their keys, and places by those.
            SELECT r.key, r.owner FROM runs r
            WHERE r.key = ANY ((SELECT p.keys FROM places p)::bigint[]) AND (r.owner IS NULL OR r.owner = ANY (dead))
            ORDER BY
                starts AND r.owner IS NULL, ((SELECT p.places FROM places p)::bigint[])[width_bucket(r.key, (SELECT p.keys FROM places p))]
            LIMIT most_claims
            FOR NO KEY UPDATE OF r SKIP LOCKED
        ), taken AS (
            UPDATE runs r SET
                owner = me, claims = r.claims + 1, left_by = coalesce(n.owner, 0),
                deaths = r.deaths + (SELECT count(*) FROM members m WHERE m.id = n.owner AND NOT m.handed_over)::integer
            FROM mine_now n WHERE r.key = n.key
            RETURNING r.key, r.claims, coalesce(n.owner, 0) AS owner, r.deaths
        ), moved AS (
            UPDATE beats b SET mail_after = n.after
            FROM (
                SELECT
                    c.few, CASE WHEN c.few AND l.number >= letters_at_once() THEN l.last ELSE 0 END AS after
                FROM
                    (SELECT sum(l.number) AS number, max(l.last) AS last FROM letters l) AS l,
                    (SELECT count(*) < most_claims OR
                        (SELECT p.by_mail FROM places p) < (most_claims - count(*) FILTER (WHERE starts AND t.owner <> 0) + (my_beat + 1) % 2) / 2 AS few
                     FROM taken t) AS c
            ) AS n
            WHERE b.member = me AND (n.few OR my_beat % 32 = 0) AND b.mail_after <> n.after
        )
        SELECT 0, t.key, t.claims, t.owner, t.deaths,
               EXISTS (SELECT 1 FROM beats s WHERE s.member = t.owner AND s.turn = t.key), NULL::bytea, NULL
        FROM taken t ORDER BY t.owner = 0, t.key;
    END IF;
    RETURN QUERY SELECT * FROM work(me, due_until, most, starts);
    RETURN QUERY
    SELECT 4, m.id, s.beat + s.pulse, s.lease, NULL::integer, NULL::boolean, NULL::bytea, NULL
    FROM members m JOIN beats s ON s.member = m.id WHERE m.alive AND NOT m.serves AND m.id <> me;
END $$;

-- A beat beside those of the polls, which number what a member has seen: so it is counted apart. A poll that is at work says it already.
CREATE OR REPLACE FUNCTION perdure.pulse(me bigint) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
BEGIN
    UPDATE beats b SET pulse = b.pulse + 1, seen_at = clock_timestamp()
    WHERE b.member = (SELECT s.member FROM beats s WHERE s.member = me FOR NO KEY UPDATE SKIP LOCKED);
END $$;

-- These runs, as far as no other living member has them; not one in whose turn a member has died, which `poll` has to tell. Of
-- those that are the member's already nothing is locked: a poll that has looked too late at one holds its row for a moment, and
-- it would be passed over.
CREATE OR REPLACE FUNCTION perdure.own(me bigint, my_term bigint, wanted bigint[])
RETURNS TABLE (key bigint, claims bigint, left_by bigint, deaths integer)
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
#variable_conflict use_column
DECLARE
    dead bigint[];
BEGIN
    PERFORM fence(me, my_term);
    dead := ARRAY(SELECT dead_owners());
    RETURN QUERY
    WITH free AS (
        SELECT r.key, r.owner FROM runs r
        WHERE r.key = ANY (wanted) AND (r.owner IS NULL OR (
            r.owner = ANY (dead) AND NOT EXISTS (SELECT 1 FROM beats s WHERE s.member = r.owner AND s.turn = r.key)
        ))
        FOR NO KEY UPDATE OF r SKIP LOCKED
    ), taken AS (
        UPDATE runs r SET
            owner = me, claims = r.claims + 1, left_by = coalesce(f.owner, 0),
            deaths = r.deaths + (SELECT count(*) FROM members m WHERE m.id = f.owner AND NOT m.handed_over)::integer
        FROM free f WHERE r.key = f.key
        RETURNING r.key, r.claims, coalesce(f.owner, 0) AS owner, r.deaths
    )
    SELECT t.key, t.claims, t.owner, t.deaths FROM taken t
    UNION ALL
    SELECT r.key, r.claims, 0::bigint, r.deaths FROM runs r WHERE r.key = ANY (wanted) AND r.owner = me;
END $$;

CREATE OR REPLACE FUNCTION perdure.enter_turn(me bigint, my_term bigint, run bigint) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    PERFORM fence(me, my_term);
    UPDATE beats SET turn = run WHERE member = me;
END $$;

-- Nobody waits here for another member: one whose row is locked has a commit that the server has in hand, which the server ends
-- without anybody's help, and may be looked at again. So members that declare each other dead do not wait in a circle either.
CREATE OR REPLACE FUNCTION perdure.declare_dead(me bigint, my_term bigint, suspect bigint, last_beat bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    PERFORM fence(me, my_term);
    PERFORM 1 FROM members WHERE id = suspect AND alive FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND OR NOT EXISTS (SELECT 1 FROM beats WHERE member = suspect AND beat + pulse = last_beat) THEN
        RETURN false;
    END IF;
    UPDATE members SET alive = false WHERE id = suspect;
    RETURN true;
END $$;

-- What it has is claimed by whoever polls, as that of a dead one.
CREATE OR REPLACE FUNCTION perdure.hand_over(me bigint, my_term bigint) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    UPDATE members SET alive = false, handed_over = true WHERE id = me AND alive AND term = my_term;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'member % was declared dead', me USING ERRCODE = 'PD001';
    END IF;
    UPDATE beats SET turn = 0 WHERE member = me;
END $$;

CREATE OR REPLACE FUNCTION perdure.publish(
    me bigint, kinds text[], names text[], parameters bytea[], workflows text[]
) RETURNS void LANGUAGE plpgsql SET search_path = perdure, pg_temp SET lock_timeout = '2s' AS $$
#variable_conflict use_variable
BEGIN
    PERFORM fence(me, NULL);
    UPDATE beats SET workflows = publish.workflows WHERE member = me;
    INSERT INTO definitions
    SELECT n.*, ARRAY[me] FROM unnest(kinds, names, parameters) AS n(kind, name, parameters)
    ORDER BY n.kind COLLATE "C", n.name COLLATE "C"  -- in one order: members that begin together do not wait in a circle
    ON CONFLICT (kind, name) DO UPDATE SET
        parameters = EXCLUDED.parameters,
        members = ARRAY(SELECT m.id FROM members m WHERE m.alive AND (m.id = me OR m.id = ANY (definitions.members)) ORDER BY m.id);
END $$;

-- So many keys that nobody else gets, for new runs of owners: even ones, above all that were given away before.
CREATE OR REPLACE FUNCTION perdure.reserve(count bigint) RETURNS SETOF bigint
LANGUAGE sql SET search_path = perdure, pg_temp AS $$
    SELECT nextval('keys') * 2 FROM generate_series(1, count)
$$;

-- Waits until whatever the member has still open on the server has ended, and refuses what comes later. The new term, NULL if it
-- is dead.
CREATE OR REPLACE FUNCTION perdure.settle(me bigint) RETURNS bigint
LANGUAGE sql SET search_path = perdure, pg_temp SET lock_timeout = '5s' AS $$
    UPDATE members SET term = term + 1 WHERE id = me AND alive RETURNING term
$$;
