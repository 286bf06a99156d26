-- Three roles with the least rights, to be given to the users that programs log in as: GRANT perdure_client TO shop;
-- Run it once, with psql as the owner of the schema, after `perdure migrate`; later ones give the roles rights for what they add.
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
