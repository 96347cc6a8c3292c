-- extensions: pgaudit, set_user, pg_qualstats, pg_stat_kcache, pg_track_settings
-- preload: pg_stat_statements, pg_stat_kcache, pg_qualstats, pgaudit, set_user
CREATE EXTENSION pgaudit; CREATE EXTENSION set_user; CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_kcache; CREATE EXTENSION pg_qualstats; CREATE EXTENSION pg_track_settings;
DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname='auditor') THEN CREATE ROLE auditor; END IF; END $$;
SELECT pg_track_settings_snapshot();
ALTER DATABASE audit SET work_mem='9MB';
CREATE TABLE accounts(id int PRIMARY KEY, iban text, balance numeric(14,2) CHECK (balance > -1000)); 
INSERT INTO accounts SELECT i,'CH'||lpad(i::text,19,'0'), i*10 FROM generate_series(1,1500) i;
GRANT SELECT, UPDATE (balance) ON accounts TO auditor;
CREATE TABLE audit_log(id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT clock_timestamp(), tag text, obj text);
CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP INSERT INTO public.audit_log(tag,obj) VALUES (r.command_tag, r.object_identity); END LOOP; END $$;
CREATE EVENT TRIGGER ddl ON ddl_command_end EXECUTE FUNCTION on_ddl();
CREATE FUNCTION on_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'drop'; END $$;
CREATE EVENT TRIGGER drp ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION on_drop(); ALTER EVENT TRIGGER drp DISABLE;
CREATE TABLE made_later(x int DEFAULT 3, y text COMPRESSION pglz);
INSERT INTO made_later(y) SELECT repeat('y',i) FROM generate_series(1,200) i;
CREATE VIEW slow AS SELECT query, calls FROM pg_stat_statements WHERE calls > 1;
CREATE VIEW settings AS SELECT * FROM pg_track_settings(now());
