-- What each role may.
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
