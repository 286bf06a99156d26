-- Three roles with the least rights, to be given to the users that programs log in as: GRANT perdure_client TO shop;
-- Run it with psql as the owner of the schema, after `perdure migrate`, and again after each later one:
--
--   perdure migrate --roles --db postgresql://owner@host/name | psql postgresql://owner@host/name
--
--   perdure_engine  engines and workers: move runs. Changes no schema: let `perdure migrate` do that as the owner.
--   perdure_client  starts runs, sends messages, reads. (`perdure import` writes histories: only an engine's user may.)
--   perdure_reader  reads: the dashboard, `perdure list`, monitoring.
\set ON_ERROR_STOP on
BEGIN;

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['perdure_reader', 'perdure_client', 'perdure_engine'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
END $$;

REVOKE ALL ON SCHEMA perdure FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA perdure FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA perdure FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA perdure FROM PUBLIC;

GRANT USAGE ON SCHEMA perdure TO perdure_reader, perdure_client, perdure_engine;
GRANT SELECT ON ALL TABLES IN SCHEMA perdure TO perdure_reader, perdure_client, perdure_engine;
REVOKE SELECT ON perdure.secret FROM perdure_reader;  -- who knows it can end attempts
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA perdure TO perdure_client, perdure_engine;
GRANT EXECUTE ON FUNCTION perdure.page, perdure.is_seen TO perdure_reader;  -- streams, and who takes part

-- A start is a row, its letter and what it is found by; one that follows a run that has ended takes its place.
GRANT INSERT ON perdure.runs, perdure.mail, perdure.attributes TO perdure_client;
GRANT UPDATE (followed_by) ON perdure.runs TO perdure_client;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA perdure TO perdure_client, perdure_engine;

GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA perdure TO perdure_engine;
REVOKE INSERT, UPDATE, DELETE ON perdure.version, perdure.secret FROM perdure_engine;

COMMIT;
