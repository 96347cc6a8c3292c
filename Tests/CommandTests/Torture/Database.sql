-- Roles, and a database with properties that no archive applies.
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['torture owner', 'torture "quoted" role', 'torture_reader', 'torture_group'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN EXECUTE format('CREATE ROLE %I', name); END IF;
  END LOOP;
END $$;
GRANT torture_group TO torture_reader;

CREATE DATABASE :"db" OWNER "torture owner" TEMPLATE template0 ENCODING UTF8 :locale
  LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8' CONNECTION LIMIT 50;
COMMENT ON DATABASE :"db" IS E'It''s "a" \\ comment\nof two lines';
REVOKE CONNECT, TEMPORARY ON DATABASE :"db" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"db" TO torture_reader WITH GRANT OPTION;
GRANT CREATE ON DATABASE :"db" TO "torture ""quoted"" role";
ALTER DATABASE :"db" SET search_path = 'odd "schema"', public, '$user';
ALTER DATABASE :"db" SET work_mem = '13MB';
ALTER DATABASE :"db" SET "torture.setting" = E'a\\b''c "d"';
ALTER DATABASE :"db" SET statement_timeout = '2s';
ALTER DATABASE :"db" SET default_transaction_read_only = 'on';
ALTER ROLE torture_reader IN DATABASE :"db" SET search_path = pg_catalog, 'Mixed Case';
ALTER ROLE "torture ""quoted"" role" IN DATABASE :"db" SET datestyle = 'German, DMY';
