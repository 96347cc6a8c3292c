-- extensions: none
CREATE EXTENSION hstore; CREATE EXTENSION pg_trgm; CREATE EXTENSION unaccent; CREATE EXTENSION citext; CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION pgcrypto;
CREATE SCHEMA discourse_functions; CREATE FUNCTION discourse_functions.raise_ro() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'readonly'; END $$;
CREATE TABLE schema_migrations(version varchar PRIMARY KEY); INSERT INTO schema_migrations SELECT 20200000000000+i FROM generate_series(1,900) i;
CREATE TABLE ar_internal_metadata(key varchar PRIMARY KEY, value varchar, created_at timestamp(6) NOT NULL); INSERT INTO ar_internal_metadata VALUES ('environment','production',now());
CREATE FUNCTION slugify(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(regexp_replace(public.unaccent('public.unaccent',t),'[^a-zA-Z0-9]+','-','g')) $$;
CREATE TABLE users(id bigserial PRIMARY KEY, username citext NOT NULL UNIQUE, email text, pw text, custom hstore, token uuid DEFAULT uuid_generate_v4(), created_at timestamp(6) NOT NULL DEFAULT now(), ip inet);
INSERT INTO users(username,email,pw,custom,ip) SELECT 'User'||i,'u'||i||'@example.com',encode(digest(i::text,'sha256'),'hex'),hstore('k',i::text),('10.0.0.0'::inet+i) FROM generate_series(1,800) i;
CREATE TABLE topics(id bigserial PRIMARY KEY, title varchar NOT NULL, slug text GENERATED ALWAYS AS (slugify(title)) STORED, user_id bigint REFERENCES users, tags text[] DEFAULT '{}', deleted_at timestamp, bumped_at timestamp DEFAULT now());
INSERT INTO topics(title,user_id,tags) SELECT 'Tópic número '||i,1+i%800,ARRAY['t'||i%5] FROM generate_series(1,1000) i;
CREATE INDEX topics_fancy ON topics USING gin(title gin_trgm_ops) WHERE deleted_at IS NULL; CREATE UNIQUE INDEX ON topics(slugify(title), id); CREATE INDEX ON topics(bumped_at DESC NULLS LAST);
CREATE TABLE posts(id bigserial PRIMARY KEY, topic_id bigint, raw text NOT NULL, cooked text, post_number int) WITH (autovacuum_vacuum_scale_factor=0.02, fillfactor=80, toast.autovacuum_enabled=false);
INSERT INTO posts(topic_id,raw,cooked,post_number) SELECT 1+i%1000,'raw '||i,repeat('<p>'||md5(i::text)||'</p>',i%80),i/1000 FROM generate_series(1,3000) i;
CREATE UNIQUE INDEX idx_pn ON posts(topic_id,id,post_number); ALTER TABLE posts REPLICA IDENTITY FULL; ALTER TABLE posts ALTER cooked SET STORAGE EXTERNAL, ALTER raw SET STATISTICS 500; ALTER TABLE posts ALTER post_number SET (n_distinct=-0.5);
CREATE TABLE post_search_data(post_id bigint PRIMARY KEY, search_data tsvector, raw_data text, locale text); INSERT INTO post_search_data SELECT id,to_tsvector('english',raw),raw,'en' FROM posts; CREATE INDEX ON post_search_data USING gin(search_data) WITH (fastupdate=off);
CREATE TRIGGER ro BEFORE INSERT OR UPDATE ON ar_internal_metadata FOR EACH ROW EXECUTE FUNCTION discourse_functions.raise_ro();
CREATE VIEW badge_posts AS SELECT p.*, t.title FROM posts p JOIN topics t ON t.id=p.topic_id;
CREATE TABLE chk_posts(topic int); CREATE FUNCTION topic_exists(i int) RETURNS bool LANGUAGE sql STABLE AS 'SELECT EXISTS(SELECT 1 FROM public.topics WHERE id=i)'; ALTER TABLE chk_posts ADD CHECK (topic_exists(topic)); INSERT INTO chk_posts SELECT generate_series(1,50);
ALTER TABLE posts ADD CONSTRAINT nn CHECK (cooked IS NOT NULL) NOT VALID;
