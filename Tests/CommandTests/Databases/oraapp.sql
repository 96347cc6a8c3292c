-- extensions: orafce
CREATE EXTENSION orafce;
ALTER DATABASE oraapp SET search_path = oracle, pg_catalog, "$user", public;
SET search_path = oracle, pg_catalog, "$user", public;
CREATE TABLE public.emp(empno numeric(4) PRIMARY KEY, ename oracle.varchar2(30) NOT NULL, job oracle.nvarchar2(20), hired oracle.date DEFAULT oracle.sysdate(), sal numeric(9,2), tag text GENERATED ALWAYS AS (oracle.rpad(ename::text, 40)) STORED);
INSERT INTO public.emp SELECT i,'NAME'||i,'JOB'||i%5, oracle.to_date('2024-01-01 10:00:00','yyyy-mm-dd hh24:mi:ss')+i%100, 1000+i FROM generate_series(1,900) i;
CREATE FUNCTION public.raise_pct(p numeric) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM dbms_output.put_line('x'); UPDATE public.emp SET sal = sal*nvl(p,1); END $$;
CREATE VIEW public.v_emp AS SELECT empno, nvl(job::text,'-') j, decode(job::text,'JOB1','one','other') d, oracle.add_months(hired, 2) am, oracle.substr(ename::text,1,4) s FROM public.emp;
CREATE INDEX ON public.emp (oracle.substr(ename::text, 1, 5));
CREATE TABLE public.chk(a text CHECK (nvl(oracle.length(a),0) < 50)); INSERT INTO public.chk SELECT 'r'||i FROM generate_series(1,300) i;
CREATE VIEW public.d AS SELECT dummy FROM oracle.dual;
CREATE MATERIALIZED VIEW public.med AS SELECT job::text j, median(sal::float8) m, listagg(ename::text, ',') l FROM public.emp GROUP BY job::text;
CREATE TABLE public.lobs(id int, b bytea, o oid); INSERT INTO public.lobs SELECT i, decode(md5(i::text),'hex'), lo_from_bytea(0, convert_to('lob '||i,'UTF8')) FROM generate_series(1,100) i;
