-- extensions: postgis, postgis_tiger_geocoder, address_standardizer, address_standardizer_data_us
CREATE EXTENSION postgis; CREATE EXTENSION fuzzystrmatch; CREATE EXTENSION postgis_tiger_geocoder; CREATE EXTENSION address_standardizer; CREATE EXTENSION address_standardizer_data_us;
CREATE TABLE addr_in(id int PRIMARY KEY, line text, std stdaddr);
INSERT INTO addr_in SELECT i, i||' Main Street, Boston, MA 02109', standardize_address('us_lex','us_gaz','us_rules', i||' Main Street','Boston, MA 02109') FROM generate_series(1,300) i;
INSERT INTO us_rules(rule,is_custom) VALUES ('1 -1 5 -1 2 8',true);
INSERT INTO us_lex(seq,word,stdword,token,is_custom) VALUES (1,'FOOO','FOO',1,true);
INSERT INTO tiger.geocode_settings(name,setting,unit,category,short_desc) VALUES ('debug_x','true','boolean','debug','mine');
INSERT INTO tiger.loader_platform(os,declare_sect) VALUES ('mybox','export X=1');
INSERT INTO tiger.street_type_lookup(name,abbrev,is_hw) VALUES ('MYWAY','Mw',false);
CREATE TABLE tiger_data.ma_county() INHERITS (tiger.county);
INSERT INTO tiger_data.ma_county(statefp,countyfp,cntyidfp,name,the_geom) SELECT '25', lpad(i::text,3,'0'), '25'||lpad(i::text,3,'0'), 'County '||i, ST_Multi(ST_MakeEnvelope(i,0,i+1,1,4269)) FROM generate_series(1,40) i;
ALTER TABLE tiger_data.ma_county ADD CONSTRAINT chk_statefp CHECK (statefp='25');
CREATE INDEX ON tiger_data.ma_county USING gist(the_geom);
CREATE VIEW counties AS SELECT cntyidfp, name, ST_Area(the_geom) a FROM tiger.county;
CREATE MATERIALIZED VIEW sounds AS SELECT id, soundex(line) s, metaphone(line,8) m FROM addr_in;
CREATE INDEX ON addr_in (soundex(line));
