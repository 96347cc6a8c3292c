-- extensions: hll, rum, pg_similarity
CREATE EXTENSION hll; CREATE EXTENSION rum; CREATE EXTENSION pg_similarity; CREATE EXTENSION pg_trgm; CREATE EXTENSION unaccent; CREATE EXTENSION cube; CREATE EXTENSION intarray; CREATE EXTENSION tablefunc;
CREATE TABLE visits(d date, site int, u hll NOT NULL DEFAULT hll_empty(), PRIMARY KEY(d,site));
INSERT INTO visits SELECT date '2024-01-01'+g%60, g%5, hll_add_agg(hll_hash_integer(i)) FROM generate_series(0,299) g, generate_series(1,20) i GROUP BY 1,2,g HAVING g < 60 OR false ON CONFLICT DO NOTHING;
CREATE TEXT SEARCH CONFIGURATION en (COPY = english); ALTER TEXT SEARCH CONFIGURATION en ALTER MAPPING FOR hword, hword_part, word WITH unaccent, english_stem;
CREATE TABLE docs(id int PRIMARY KEY, title text, body text, ts timestamp, tsv tsvector GENERATED ALWAYS AS (setweight(to_tsvector('en',coalesce(title,'')),'A') || to_tsvector('en',coalesce(body,''))) STORED);
INSERT INTO docs(id,title,body,ts) SELECT i,'Título número '||i,'lorem ipsum café '||md5(i::text)||' dolor '||i, timestamp '2024-01-01'+i*interval '1 hour' FROM generate_series(1,2000) i;
CREATE INDEX docs_rum ON docs USING rum(tsv rum_tsvector_addon_ops, ts) WITH (attach='ts', to='tsv');
CREATE INDEX docs_rum2 ON docs USING rum(tsv rum_tsvector_ops);
CREATE INDEX docs_trgm ON docs USING gin(title gin_trgm_ops); CREATE INDEX docs_gist ON docs USING gist(body gist_trgm_ops(siglen=64));
CREATE TABLE vec(id int, c cube, a int[]); INSERT INTO vec SELECT i, cube(ARRAY[i,i*2,i%7]::float8[]), ARRAY[i%10,i%20,i%30] FROM generate_series(1,500) i;
CREATE INDEX ON vec USING gist(c); CREATE INDEX ON vec USING gist(a gist__intbig_ops);
CREATE VIEW pairs AS SELECT a.id x, b.id y, jarowinkler(a.title,b.title) j FROM docs a JOIN docs b ON b.id=a.id+1 WHERE a.id<100;
CREATE MATERIALIZED VIEW uniques AS SELECT site, hll_cardinality(hll_union_agg(u)) n FROM visits GROUP BY site;
CREATE MATERIALIZED VIEW words AS SELECT word, ndoc FROM ts_stat('select tsv from public.docs');
CREATE VIEW ct AS SELECT * FROM crosstab('select d, site, 1 from public.visits order by 1,2') AS c(d date, a int, b int);
