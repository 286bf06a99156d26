#!/bin/sh
# The users that programs log in as, made with the database: engines move runs, the dashboard reads, neither changes the schema.
# What their roles may do is said by `perdure migrate --roles`, which the migration runs.
set -eu
psql --quiet --set ON_ERROR_STOP=1 --set engine="$ENGINE_PASSWORD" --set reader="$READER_PASSWORD" \
    --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
SELECT format('CREATE ROLE %I NOLOGIN', role)
FROM unnest(ARRAY['perdure_engine', 'perdure_client', 'perdure_reader']) AS role
WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = role) \gexec
CREATE ROLE engine LOGIN PASSWORD :'engine' IN ROLE perdure_engine;
CREATE ROLE reader LOGIN PASSWORD :'reader' IN ROLE perdure_reader;
SQL
