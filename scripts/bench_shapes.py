"""Restores of databases of other shapes than an application's: narrow rows, large objects, many tables, one large table; and the
snapshot of a tiny one. Each beside the stock tools."""

import os
import statistics
import subprocess
import time

from bench_tools import POSTGRES, measure, rotated, say, sql

NARROW = ("narrow", "a pgbench database of scale 20")
LARGE_OBJECTS = ("objects", "20,000 large objects of 16 bytes")
MANY_TABLES = ("many", "5,000 tables of ten rows")
ONE_TABLE = ("one", "a database with one table of 80 %")


class Shapes:
    def __init__(self, bench, jobs):
        self.bench, self.jobs = bench, jobs
        self.store = bench.path("shapes")
        bench.init(self.store)

    def run(self):
        say("restores of other shapes")
        self.make(NARROW)
        measure([f"{POSTGRES}/pgbench", "-q", "-i", "-s", "20", NARROW[0]], stderr=subprocess.DEVNULL)
        self.compare(NARROW, 1.0, analyze=True)
        self.make(LARGE_OBJECTS)
        sql("SELECT lo_from_bytea(0, decode(md5(g::text), 'hex')) FROM generate_series(1, 20000) g", LARGE_OBJECTS[0])
        self.compare(LARGE_OBJECTS, 1.0)
        self.make(MANY_TABLES)
        for start in range(1, 5001, 500):
            statements = [
                f"CREATE TABLE t{n} (id int PRIMARY KEY, v text); INSERT INTO t{n} SELECT g, 'v' || g FROM generate_series(1, 10) g;"
                for n in range(start, start + 500)]
            sql("".join(statements), MANY_TABLES[0])
        self.compare(MANY_TABLES, 1.2)
        self.make(ONE_TABLE)
        fill = "SELECT g AS id, md5(g::text) AS a, repeat(md5((g * 7)::text), 4) AS b, g % 1000 AS c FROM generate_series(1, {}) g"
        indexes = "CREATE INDEX ON {0} (id); CREATE INDEX ON {0} (a); CREATE INDEX ON {0} (c, id)"
        sql(f"CREATE TABLE large AS {fill.format(2_400_000)}; {indexes.format('large')}", ONE_TABLE[0])
        for number in range(6):
            sql(f"CREATE TABLE small{number} AS {fill.format(100_000)}; {indexes.format(f'small{number}')}", ONE_TABLE[0])
        self.compare(ONE_TABLE, 1.0)
        self.tiny()

    def make(self, shape):
        sql(f"CREATE DATABASE {shape[0]} TEMPLATE template0", "postgres")

    def compare(self, shape, bound, analyze=False):
        """Firn always gathers statistics; the stock way does so only if that is compared."""
        bench, (database, title) = self.bench, shape
        sql("VACUUM; CHECKPOINT", database)
        bench.snapshot(database, self.store)
        raw = bench.path("raw")
        bench.dump_directory(database, raw)
        times, memory = {"firn": [], "stock": []}, 0
        for number in range(bench.rounds):
            for name in rotated(list(times), number):
                sql("CHECKPOINT", "postgres")
                os.sync()
                start = time.monotonic()
                if name == "firn":
                    report = bench.restore(database, self.store, "restored")
                    memory = max(memory, report["peakMemoryBytes"])
                else:
                    sql("CREATE DATABASE restored TEMPLATE template0", "postgres")
                    measure([f"{POSTGRES}/pg_restore", f"-j{self.jobs}", "-d", "restored", raw])
                    if analyze:
                        measure([f"{POSTGRES}/vacuumdb", "-q", "--analyze", f"-j{self.jobs}", "restored"])
                times[name].append(time.monotonic() - start)
                sql("DROP DATABASE restored", "postgres")
        median = {name: statistics.median(values) for name, values in times.items()}
        say("  seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in median.items()))
        peer = f"pg_restore -j{self.jobs}" + (", then vacuumdb --analyze" if analyze else "")
        bench.add(f"restore of {title} / {peer}, time", median["firn"] / median["stock"], bound)
        bench.add(f"restore of {title}, peak memory, MB", memory / 1e6, 200)
        bench.remove(raw)
        sql(f"DROP DATABASE {database}", "postgres")

    def tiny(self):
        sql("CREATE DATABASE tiny TEMPLATE template0", "postgres")
        sql("CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g", "tiny")
        times = {"firn": [], "-Fc": []}
        for number in range(2 * self.bench.rounds + 1):
            for name in rotated(list(times), number):
                start = time.monotonic()
                if name == "firn":
                    self.bench.snapshot("tiny", self.store)
                else:
                    measure([f"{POSTGRES}/pg_dump", "-Fc", "-f", self.bench.path("custom"), "tiny"])
                times[name].append(time.monotonic() - start)
        self.bench.remove(self.bench.path("custom"))
        self.bench.add("snapshot of a tiny database / pg_dump -Fc, time", statistics.median(times["firn"]) / statistics.median(times["-Fc"]), 2.0)
        sql("DROP DATABASE tiny", "postgres")
