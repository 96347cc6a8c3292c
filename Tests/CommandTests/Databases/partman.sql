-- extensions: pg_partman
CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman;
CREATE TABLE events(id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, kind text NOT NULL DEFAULT 'x', payload jsonb, PRIMARY KEY(id,at)) PARTITION BY RANGE(at);
CREATE INDEX ON events(kind); CREATE INDEX ON events USING brin(at);
SELECT partman.create_parent('public.events','at','native','daily', p_premake := 3, p_start_partition := (now()-interval '10 days')::text);
INSERT INTO events(at,kind,payload) SELECT now()-(i%240)*interval '1 hour', 'k'||i%7, jsonb_build_object('i',i,'t',repeat('z',i%50)) FROM generate_series(1,3000) i;
CREATE TABLE measures(id bigint NOT NULL, v numeric(12,4)) PARTITION BY RANGE(id);
SELECT partman.create_parent('public.measures','id','native','1000', p_premake := 4);
INSERT INTO measures SELECT i, i/7.0 FROM generate_series(1,3500) i;
UPDATE partman.part_config SET retention='90 days', retention_keep_table=false, infinite_time_partitions=true WHERE parent_table='public.events';
SELECT partman.run_maintenance();
CREATE TABLE readings(sensor int, at date NOT NULL, v float8) PARTITION BY LIST(sensor);
CREATE TABLE readings_1 PARTITION OF readings FOR VALUES IN (1) PARTITION BY RANGE(at);
CREATE TABLE readings_1_24 PARTITION OF readings_1 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE readings_1_def PARTITION OF readings_1 DEFAULT;
CREATE TABLE readings_d PARTITION OF readings DEFAULT;
INSERT INTO readings SELECT i%4, date '2023-06-01'+i%800, random() FROM generate_series(1,2000) i;
CREATE VIEW daily AS SELECT at::date d, kind, count(*) FROM events GROUP BY 1,2;
CREATE STATISTICS ev_stat (dependencies, mcv) ON kind, at FROM events; 
