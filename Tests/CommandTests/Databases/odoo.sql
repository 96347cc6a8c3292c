-- extensions: none
CREATE EXTENSION pg_trgm; CREATE EXTENSION unaccent;
CREATE TABLE ir_model(id serial PRIMARY KEY, model varchar NOT NULL UNIQUE, name jsonb); COMMENT ON TABLE ir_model IS 'Models'; CREATE SEQUENCE base_cache_signaling INCREMENT 1 START 1; SELECT nextval('base_cache_signaling');
CREATE TABLE res_users(id serial PRIMARY KEY, login varchar NOT NULL, company_id int, create_uid int REFERENCES res_users ON DELETE SET NULL); INSERT INTO res_users(login) SELECT 'u'||i FROM generate_series(1,60) i;
DO $$ DECLARE i int; BEGIN FOR i IN 1..260 LOOP
 EXECUTE format('CREATE TABLE mod_%s(id serial PRIMARY KEY, name varchar, active boolean DEFAULT true, create_uid int, write_date timestamp, parent_path varchar, company int, CONSTRAINT mod_%1$s_uniq UNIQUE(name,company), CHECK (company >= 0))',i);
 EXECUTE format('COMMENT ON COLUMN mod_%s.name IS %L',i,'Name of '||i); EXECUTE format('ALTER TABLE mod_%s ADD CONSTRAINT mod_%1$s_uid_fkey FOREIGN KEY(create_uid) REFERENCES res_users ON DELETE SET NULL',i);
 EXECUTE format('INSERT INTO mod_%s(name,create_uid,company,write_date) SELECT ''n''||g,1+g%%60,g%%3,now() FROM generate_series(1,%s) g',i,i%25); INSERT INTO ir_model(model,name) VALUES ('mod.'||i,jsonb_build_object('en_US','Mod '||i));
 IF i>1 THEN EXECUTE format('CREATE TABLE mod_%s_rel(a int NOT NULL REFERENCES mod_%1$s ON DELETE CASCADE, b int NOT NULL REFERENCES mod_%2$s ON DELETE CASCADE, PRIMARY KEY(a,b))',i,i-1); END IF; END LOOP; END $$;
CREATE VIEW report_all AS SELECT id,name FROM mod_1 UNION ALL SELECT id,name FROM mod_2 UNION ALL SELECT -id,name FROM mod_3;
