-- extensions: pgtap, hypopg, pg_repack
CREATE SCHEMA tap; CREATE EXTENSION pgtap SCHEMA tap; CREATE EXTENSION hypopg; CREATE EXTENSION pg_repack;
CREATE TABLE t(id int PRIMARY KEY, a text NOT NULL, b int, gone int); ALTER TABLE t DROP COLUMN gone; ALTER TABLE t ADD COLUMN c date DEFAULT '2024-02-29';
INSERT INTO t SELECT i,'a'||i,i%10 FROM generate_series(1,2000) i; CLUSTER t USING t_pkey;
CREATE FUNCTION tap.test_t() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN NEXT tap.has_table('public','t','there'); RETURN NEXT tap.col_not_null('public','t','a','nn'); END $$;
CREATE VIEW tap.cols AS SELECT * FROM tap.tap_funky LIMIT 5;
CREATE VIEW hypo AS SELECT indexrelid, indexname FROM hypopg();
CREATE TABLE "Weird ""Name"" %s"("select" int PRIMARY KEY, "a'b" text DEFAULT E'it''s \\ back', "tab	x" int, "ünï" text COLLATE "POSIX");
INSERT INTO "Weird ""Name"" %s" SELECT i, E'line\nbreak\ttab\\.', NULL, 'ü'||i FROM generate_series(1,300) i;
CREATE SCHEMA "Sch.ema"; CREATE TABLE "Sch.ema"."T.a*b?"(x int); INSERT INTO "Sch.ema"."T.a*b?" SELECT generate_series(1,100);
CREATE SEQUENCE "Sch.ema"."s q" AS smallint INCREMENT -3 MINVALUE -100 MAXVALUE 50 START 20 CYCLE; SELECT nextval('"Sch.ema"."s q"');
CREATE TABLE nocols(); INSERT INTO nocols DEFAULT VALUES; INSERT INTO nocols DEFAULT VALUES;
COMMENT ON TABLE t IS E'multi\nline -- \\restrict x'; COMMENT ON COLUMN t.a IS 'c'; COMMENT ON DATABASE tests IS 'db comment';
CREATE TABLE own_ext(k int); INSERT INTO own_ext VALUES (1);
