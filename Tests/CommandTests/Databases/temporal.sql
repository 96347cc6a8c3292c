-- extensions: periods
CREATE EXTENSION btree_gist; CREATE EXTENSION periods;
CREATE TABLE emp(id int NOT NULL, name text, dept int, valid_from date NOT NULL, valid_to date NOT NULL, pk int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
SELECT periods.add_period('emp','validity','valid_from','valid_to');
SELECT periods.add_unique_key('emp', ARRAY['id'], 'validity');
CREATE TABLE dept(id int NOT NULL, boss int, s date NOT NULL, e date NOT NULL);
SELECT periods.add_period('dept','p','s','e');
SELECT periods.add_unique_key('dept', ARRAY['id'], 'p', 'dept_pk');
CREATE TABLE salary(id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, emp int, amount money, f date NOT NULL, t date NOT NULL);
SELECT periods.add_period('salary','v','f','t');
-- SELECT periods.add_foreign_key('salary', ARRAY['emp'], 'v', 'emp_id_validity');
INSERT INTO emp(id,name,dept,valid_from,valid_to) SELECT i,'emp '||i,i%9,'2020-01-01','2030-01-01' FROM generate_series(1,500) i;
INSERT INTO dept SELECT i,i,'2020-01-01','2030-01-01' FROM generate_series(1,9) i;
INSERT INTO salary(emp,amount,f,t) SELECT 1+i%500, (1000+i)::money, '2021-01-01','2022-01-01' FROM generate_series(1,700) i;
CREATE TABLE price(id int PRIMARY KEY, v numeric);
-- system versioning: see temporalfk.sql
INSERT INTO price SELECT i,i FROM generate_series(1,300) i; UPDATE price SET v=v*2 WHERE id%3=0; DELETE FROM price WHERE id%10=0;
SELECT periods.add_for_portion_view('emp','validity');
