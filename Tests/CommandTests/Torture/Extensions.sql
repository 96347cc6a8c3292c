-- What needs a server that is built with everything, and PostgreSQL's contributed extensions.
SET default_transaction_read_only = off;
SET statement_timeout = 0;
SET search_path = public;
CREATE SCHEMA ext;
CREATE COLLATION "numeric" (provider = icu, locale = 'en-u-kn-true', deterministic = false);
CREATE TABLE pages (id int, title text COLLATE "numeric" UNIQUE, page xml);
INSERT INTO pages VALUES (1, 'a10', '<a>&amp;</a>'), (2, 'a9', '<?xml version="1.0"?><b/>'), (3, NULL, 'no element');
CREATE EXTENSION pg_trgm;
CREATE EXTENSION pgcrypto SCHEMA ext;
CREATE EXTENSION hstore SCHEMA ext;
CREATE EXTENSION citext;
CREATE EXTENSION btree_gist;
CREATE TABLE with_extensions (id int, email citext UNIQUE, tags ext.hstore, digest bytea DEFAULT ext.digest('x', 'sha256'), body text,
  during tstzrange, room int, EXCLUDE USING gist (room WITH =, during WITH &&));
INSERT INTO with_extensions (id, email, tags, body, during, room) SELECT g, 'User' || g || '@Example.org', ext.hstore('k"' || g, NULL), md5(g::text),
  tstzrange(timestamptz '2024-01-01' + g * interval '1 day', timestamptz '2024-01-02' + g * interval '1 day'), g % 3 FROM generate_series(1, 500) g;
CREATE INDEX trigrams ON with_extensions USING gin (body gin_trgm_ops);
CREATE INDEX tags_index ON with_extensions USING gist (tags);
COMMENT ON EXTENSION pg_trgm IS 'a comment of our own';
