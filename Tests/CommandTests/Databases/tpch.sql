-- extensions: none
DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname='tpch_ro') THEN CREATE ROLE tpch_ro; CREATE ROLE tpch_own; END IF; END $$;
CREATE TABLE region(r_regionkey int PRIMARY KEY, r_name char(25), r_comment varchar(152)); CREATE TABLE nation(n_nationkey int PRIMARY KEY, n_name char(25), n_regionkey int REFERENCES region);
INSERT INTO region SELECT i,'R'||i,'c' FROM generate_series(0,4) i; INSERT INTO nation SELECT i,'N'||i,i%5 FROM generate_series(0,24) i;
CREATE TABLE customer(c_custkey int PRIMARY KEY, c_nationkey int REFERENCES nation, c_acctbal decimal(15,2)); INSERT INTO customer SELECT i,i%25,i*1.01 FROM generate_series(1,1500) i;
CREATE TABLE orders(o_orderkey bigint PRIMARY KEY, o_custkey int REFERENCES customer, o_orderdate date, o_status char(1)); INSERT INTO orders SELECT i,1+i%1500,date '1992-01-01'+i%2400,(ARRAY['F','O','P'])[1+i%3] FROM generate_series(1,3000) i;
CREATE TABLE lineitem(l_orderkey bigint REFERENCES orders, l_line int, l_price decimal(15,2), l_disc decimal(15,2), l_ship date, l_comment varchar(44), PRIMARY KEY(l_orderkey,l_line)) PARTITION BY HASH(l_orderkey);
DO $$ BEGIN FOR i IN 0..7 LOOP EXECUTE format('CREATE TABLE lineitem_%s PARTITION OF lineitem FOR VALUES WITH (MODULUS 8, REMAINDER %s)',i,i); END LOOP; END $$;
INSERT INTO lineitem SELECT o_orderkey,l,l*100.5,0.05,o_orderdate+l,'x'||l FROM orders, generate_series(1,4) l;
CREATE INDEX ON ONLY lineitem(l_ship); CREATE INDEX li0 ON lineitem_0(l_ship);
CREATE STATISTICS st (ndistinct, dependencies, mcv) ON o_custkey, o_status, (date_trunc('month', o_orderdate::timestamp)) FROM orders; ALTER STATISTICS st SET STATISTICS 300; ANALYZE;
CREATE VIEW revenue AS SELECT l_orderkey, sum(l_price*(1-l_disc)) rev FROM lineitem GROUP BY 1; CREATE MATERIALIZED VIEW q1 AS SELECT o_status, sum(rev), percentile_cont(0.5) WITHIN GROUP (ORDER BY rev) FROM revenue JOIN orders ON o_orderkey=l_orderkey GROUP BY 1;
ALTER TABLE customer OWNER TO tpch_own; GRANT SELECT ON ALL TABLES IN SCHEMA public TO tpch_ro WITH GRANT OPTION; GRANT SELECT (c_custkey), UPDATE (c_acctbal) ON customer TO tpch_ro; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO tpch_ro; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; REVOKE ALL ON DATABASE tpch FROM PUBLIC; GRANT CONNECT, TEMP ON DATABASE tpch TO tpch_ro; REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO tpch_ro;
CREATE FUNCTION secret() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = public SET work_mem='8MB' AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION secret() TO tpch_ro;
ALTER TABLE orders CLUSTER ON orders_pkey; ALTER TABLE nation ALTER n_name SET STATISTICS 0; CREATE UNLOGGED TABLE scratch(a int PRIMARY KEY); INSERT INTO scratch SELECT generate_series(1,400);
ALTER ROLE tpch_ro IN DATABASE tpch SET statement_timeout='5min'; ALTER DATABASE tpch CONNECTION LIMIT 77;
