"""Snapshots and restores of whole servers, beside loops over their databases; status and report of many databases."""

import os
import statistics
import subprocess
import time

from bench_tools import POSTGRES, rotated, say, sql

FILL = "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS a, repeat(md5((g * 7)::text), 3) AS b FROM generate_series(1, {}) g; ALTER TABLE t ADD PRIMARY KEY (id)"


def run(command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)


class Servers:
    def __init__(self, bench, firn, fill_store):
        self.bench, self.firn, self.fill_store = bench, firn, fill_store

    def run(self):
        # 345,000 rows are 50 MB of dump, 7,000 are 1 MB.
        twelve = self.make("large", 12, 345_000)
        self.snapshots("twelve databases of 50 MB", twelve, {"loop": 0.7, "-Fc": 0.5})
        self.restores(twelve)
        self.drop(twelve)
        many = self.make("small", 200, 7_000)
        self.snapshots("200 databases of 1 MB", many, {"loop": None, "-Fc": 1.5})
        self.drop(many)
        self.readers()

    def make(self, name, count, rows):
        say(f"making {count} databases")
        sql(f"CREATE DATABASE {name}1 TEMPLATE template0", "postgres")
        sql(FILL.format(rows) + "; VACUUM ANALYZE", f"{name}1")
        names = [f"{name}{number}" for number in range(1, count + 1)]
        for other in names[1:]:
            sql(f"CREATE DATABASE {other} TEMPLATE {name}1", "postgres")
        sql("CHECKPOINT", "postgres")
        return names

    def drop(self, names):
        for name in names:
            sql(f"DROP DATABASE {name}", "postgres")

    def call(self, program, *arguments):
        run([f"{self.firn}/{program}", *arguments, "--quiet", "--store", self.store], env=self.bench.environment)

    @property
    def store(self):
        return self.bench.path("servers")

    def snapshots(self, title, names, bounds):
        times = {"firn": [], "loop": [], "-Fc": []}
        for number in range(self.bench.rounds):
            for name in rotated(list(times), number):
                self.bench.init(self.store)
                target = self.bench.path("dumps")
                os.mkdir(target)
                os.sync()
                start = time.monotonic()
                if name == "firn":
                    self.call("firn-snapshot", "--all", "--exclude-database", "postgres")
                elif name == "loop":
                    for database in names:
                        self.call("firn-snapshot", database)
                else:
                    for database in names:
                        run([f"{POSTGRES}/pg_dump", "-Fc", "-Z3", "-f", os.path.join(target, database), database])
                times[name].append(time.monotonic() - start)
                self.bench.remove(self.store)
                self.bench.remove(target)
        median = {name: statistics.median(values) for name, values in times.items()}
        say("  seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in median.items()))
        for peer, words in (("loop", "a loop of firn-snapshot"), ("-Fc", "a loop of pg_dump -Fc -Z3")):
            self.bench.add(f"snapshots of {title} / {words}, time", median["firn"] / median[peer], bounds[peer])

    def restores(self, names):
        self.bench.init(self.store)
        self.call("firn-snapshot", "--all", "--exclude-database", "postgres", "--source", "main")
        times = {"firn": [], "loop": []}
        for number in range(self.bench.rounds):
            for name in rotated(list(times), number):
                self.drop(names)
                sql("CHECKPOINT", "postgres")
                os.sync()
                start = time.monotonic()
                if name == "firn":
                    self.call("firn-restore", "--all", "--server", "main")
                else:
                    for database in names:
                        self.call("firn-restore", database)
                times[name].append(time.monotonic() - start)
        self.bench.remove(self.store)
        median = {name: statistics.median(values) for name, values in times.items()}
        say("  seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in median.items()))
        self.bench.add("restores of twelve databases of 50 MB / a loop of firn-restore, time", median["firn"] / median["loop"], 0.8)

    def readers(self):
        """Status and report have no peer: growth is shown by three sizes of store."""
        for count in (50, 100, 200):
            self.bench.init(self.store)
            for number in range(count):
                self.fill_store(self.store, 60, new=4, live=40, database=f"app{number}")
            page = self.bench.path("page.html")
            for what, arguments, bound in (("status", ["status"], 2 if count == 200 else None), ("report", ["report", "--output", page], 2 if count == 200 else None)):
                seconds = []
                for _ in range(self.bench.rounds):
                    start = time.monotonic()
                    # It warns of what was never verified.
                    subprocess.run(
                        [f"{self.firn}/firn", *arguments, "--quiet", "--store", self.store], env=self.bench.environment, stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL)
                    seconds.append(time.monotonic() - start)
                self.bench.add(f"{count} databases of 60 nights: {what}, s", statistics.median(seconds), bound)
            self.bench.add(f"{count} databases of 60 nights: size of the report, MB", os.path.getsize(page) / 1e6, 1 if count == 200 else None)
            self.bench.remove(self.store)
