-- extensions: pgq
CREATE EXTENSION pgq;
CREATE TABLE orders(id serial PRIMARY KEY, customer text NOT NULL, total numeric(10,2), state text DEFAULT 'new');
SELECT pgq.create_queue('orders_q'); SELECT pgq.create_queue('mail'); SELECT pgq.register_consumer('orders_q','billing'); SELECT pgq.register_consumer('mail','sender'); 
SELECT pgq.set_queue_config('orders_q','ticker_max_count','200');
CREATE TRIGGER orders_q AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('orders_q');
INSERT INTO orders(customer,total) SELECT 'c'||i%50, i*1.25 FROM generate_series(1,1200) i;
SELECT pgq.insert_event('mail','hello','body '||i) FROM generate_series(1,400) i;
SELECT pgq.ticker();
INSERT INTO orders(customer,total) SELECT 'd'||i%50, i FROM generate_series(1,100) i;
SELECT pgq.ticker('orders_q');
SELECT pgq.next_batch('orders_q','billing');
CREATE VIEW q AS SELECT queue_name, queue_cur_table FROM pgq.queue;
