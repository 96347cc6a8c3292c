-- Values that are hard to write down.
SET default_transaction_read_only = off;
SET statement_timeout = 0;
SET search_path = public;
INSERT INTO lookup VALUES ('two', 2), ('three', 3), (E'tab\there', -1);
INSERT INTO everything (quantity, feeling, place, places, window_of, windows, dates, loud, data, small, yes, amount, money, single, double,
    moment, local, day, clock, clock_zone, length, net, block, card, bits, many_bits, document, binary_document, search, question,
    identity, log, grid, texts, shape, round, path, fixed, short, long)
  VALUES
  (1, 'it''s "ok"', (1.5, 'NaN', 'a,"b"\c'), ARRAY[(1, 2, NULL)::point3, (NULL, 'Infinity', '')::point3], '[1.5,2.5)', '{[1,2),(3,4]}', '[2024-01-01,2024-02-01)',
    'LOUD', '\x000a0d5c2e00ff', 'x', true, 'NaN', '$12.34', 'Infinity', '-Infinity', 'infinity', '-infinity', '4713-01-01 BC', '24:00:00', '23:59:59.999999-15:59',
    '-178000000 years', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03', B'10101', B'', '{"a": 1, "a": 2,  "b":null}', '{"n": 1e400, "u": "\u00e9"}',
    'a:1A fat:2B', 'a & !b', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '16/B374D848', '{{1,2},{3,NULL}}', '{"a,b","\"",NULL,"NULL",""}',
    '((0,0),(1,1),(1,0))', '<(0,0),1e300>', '[(0,0),(1,1)]', 'pad', 'short', E'\\. \n\\.\n\r\t\b\f\v\\N'),
  (2, '', NULL, '{}', 'empty', '{}', NULL, '', '', '', false, '1e-10', '-$0.01', '1e-45', '5e-324', '4713-01-01 00:00:00+00 BC', '294276-12-31', 'infinity', '00:00', '00:00+00',
    '1 year -1 day 00:00:00.000001', '0.0.0.0/0', '::/0', '00:00:00:00:00:00', B'00000', B'1', 'null', '"\\"', '', '', '00000000-0000-0000-0000-000000000000', '0/0', '{}', '{}',
    '((0,0))', '<(0,0),0>', '((0,0))', '', '', '');
INSERT INTO everything DEFAULT VALUES;
INSERT INTO everything (quantity, data, long) SELECT g, sha512(g::text::bytea), repeat(md5(g::text), 50) FROM generate_series(2, 3000) g;
INSERT INTO "odd ""schema"""."table with spaces, ""quotes"", 100% and a ' and \ in its name" VALUES (1, E'\u0001\u007f', E'\U0001F9CA \u0301'), (NULL, '\N', '\\N');
INSERT INTO "Größe 100%"."テーブルテーブルテーブルテーブルテーブ" VALUES (1, '雪'), (2, NULL);
INSERT INTO "odd ""schema"""."two
lines" VALUES (1);
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO dropped_column VALUES (1, 3);
INSERT INTO unlogged SELECT g, 'not in the log ' || g FROM generate_series(1, 500) g;
INSERT INTO big_values VALUES (1, repeat('0123456789', 10485760), NULL), (2, NULL, decode(repeat('00ff5c0a', 6553600), 'hex'));
INSERT INTO of_type VALUES (1, 2, 'x');
INSERT INTO lz SELECT g, repeat('abc', g) FROM generate_series(1, 300) g;
INSERT INTO parent VALUES (1, 'p');
INSERT INTO child VALUES (2, 'c', 22);
INSERT INTO grandchild VALUES (3, 'g', 33, 'key', 4);
INSERT INTO measured SELECT date '2023-06-01' + g, (ARRAY['north', 'it''s', 'south', ''])[1 + g % 4], g * 1.5 FROM generate_series(1, 900) g;
INSERT INTO hashed SELECT g, 'h' || g FROM generate_series(1, 400) g;
INSERT INTO by_mood SELECT m, n FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 20) n;
INSERT INTO refers VALUES (1, '2023-06-02', 'it''s');
BEGIN;
INSERT INTO egg VALUES (1, 1);
INSERT INTO hen VALUES (1, 1);
COMMIT;
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2);
INSERT INTO unproven VALUES (1, 999);
ALTER TABLE unproven ADD CONSTRAINT unproven_hen FOREIGN KEY (hen) REFERENCES hen NOT VALID;
ALTER TABLE unproven ADD CONSTRAINT unproven_check CHECK (id > 5) NOT VALID;
INSERT INTO secured VALUES (1, 'torture_reader'), (2, 'someone');
SELECT nextval('downwards'), nextval('downwards'), nextval('"odd ""sequence"""');
SELECT setval('everything_serial_seq', 900000, false);
REFRESH MATERIALIZED VIEW first_view;
REFRESH MATERIALIZED VIEW second_view;

-- Large objects with owners, privileges, comments, holes.
SELECT lo_from_bytea(777001, '\x00ff0a5c'), lo_from_bytea(777002, ''), lo_from_bytea(777003, decode(repeat('0123456789abcdef', 200000), 'hex'));
SELECT lo_put(777002, 5000000, '\x01');
ALTER LARGE OBJECT 777001 OWNER TO "torture owner";
ALTER LARGE OBJECT 777003 OWNER TO "torture ""quoted"" role";
GRANT SELECT ON LARGE OBJECT 777001 TO torture_reader;
COMMENT ON LARGE OBJECT 777002 IS 'it''s sparse';
SELECT count(lo_from_bytea(778000 + g, convert_to(repeat('lo ' || g, 10), 'UTF8'))) FROM generate_series(1, 300) g;
