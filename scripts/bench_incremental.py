"""Incremental snapshots beside a bare pg_dump of the same rows, on a server with WAL summaries."""

import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time

from bench_tools import rotated, say

ROWS = "SELECT g AS id, (SELECT string_agg(md5((g * 131 + i + {seed})::text), ' ') FROM generate_series(1, 6) i) AS body FROM generate_series(1, {rows}) g"


class Incremental:
    """Twenty tables of about 50 MB of text each."""

    def __init__(self, bench, firn, server, binaries):
        self.bench, self.firn, self.server, self.binaries = bench, firn, server, binaries
        self.times = {}

    def run(self):
        with self.running():
            self.many()
            self.twenty()
            self.huge()

    @contextlib.contextmanager
    def running(self):
        with self.server(self.binaries, {"summarize_wal": "on"}) as environment:
            server = {name: text for name, text in environment.items() if name.startswith("PG")}
            self.environment = {**self.bench.environment, **server, "FIRN_PG_BIN": self.binaries, "FIRN_STORE": self.bench.path("incremental")}
            yield

    def sql(self, text, database="bench"):
        subprocess.run([f"{self.binaries}/psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text], check=True, env=self.environment,
                       stdout=subprocess.DEVNULL)

    def snapshot(self, *arguments):
        before = self.stored()
        start = time.monotonic()
        done = subprocess.run([f"{self.firn}/firn-snapshot", "bench", "--quiet", *arguments], env=self.environment, stdout=subprocess.DEVNULL)
        took = time.monotonic() - start
        # 3: a table lost many rows, which is no matter here.
        if done.returncode not in (0, 3):
            raise SystemExit("bench: error: firn-snapshot failed")
        return took, self.stored() - before

    def stored(self):
        folder = self.environment["FIRN_STORE"]
        return sum(os.path.getsize(os.path.join(root, name)) for root, _, files in os.walk(folder) for name in files)

    def dump(self):
        target = self.bench.path("bare")
        shutil.rmtree(target, ignore_errors=True)
        start = time.monotonic()
        subprocess.run([f"{self.binaries}/pg_dump", "-Fd", "-Z0", "-j2", "--no-sync", "-f", target, "bench"], check=True, env=self.environment)
        took = time.monotonic() - start
        shutil.rmtree(target)
        return took

    def make(self, tables):
        subprocess.run([f"{self.binaries}/psql", "-Xq", "-d", "postgres", "-c", "DROP DATABASE IF EXISTS bench", "-c", "CREATE DATABASE bench"],
                       check=True, env=self.environment, stderr=subprocess.DEVNULL)
        for number, rows in enumerate(tables, 1):
            self.sql(f"CREATE TABLE t{number} AS " + ROWS.format(seed=number * 10_000_000, rows=rows))
        self.settle()
        shutil.rmtree(self.environment["FIRN_STORE"], ignore_errors=True)
        subprocess.run([f"{self.firn}/firn", "init", "--quiet"], check=True, env=self.environment, stdout=subprocess.DEVNULL)
        # The first reading sets hint bits, which a server with checksums logs once.
        self.snapshot()
        self.night()
        self.snapshot("--full")
        self.night()
        self.snapshot()

    def settle(self):
        self.sql("VACUUM (FREEZE, ANALYZE)")
        self.sql("CHECKPOINT")

    def night(self):
        """A checkpoint by the clock, as a server makes every few minutes."""
        self.sql("CHECKPOINT")
        os.sync()

    def compare(self, title, bound, change, peer=None, peer_name="`pg_dump -Fd -Z0 -j2`"):
        firn, other, stored = [], [], []
        for number in range(self.bench.rounds):
            for name in rotated(["firn", "peer"], number):
                if name == "firn" or peer:
                    change(number * 2 + (name == "firn"))
                    self.night()
                if name == "firn":
                    took, bytes_stored = self.snapshot()
                    firn.append(took)
                    stored.append(bytes_stored)
                else:
                    os.sync()
                    other.append((peer or self.dump)())
        self.bench.add(f"{title} ÷ {peer_name}, time", statistics.median(firn) / statistics.median(other), bound)
        return statistics.median(stored)

    def update(self, tables, night):
        for number in tables:
            self.sql(f"UPDATE t{number} SET body = left(body, -3) || '{night % 900 + 100}' WHERE id % 200 = {night % 200}")

    def twenty(self):
        say("making twenty tables of 50 MB")
        self.make([255_000] * 20)
        stored = self.compare("a night without changes", 0.15, lambda night: None)
        self.bench.add("bytes that a night without changes stores, kB", stored / 1000, 300)
        self.compare("a night in which two of twenty tables changed", 0.25, lambda night: self.update([3, 11], night))
        self.compare("a night in which all tables changed", 1.10, lambda night: self.update(range(1, 21), night),
                     peer=lambda: self.snapshot("--full")[0], peer_name="the same with `--full`")

    def hourly(self):
        """An hourly snapshot and a full one beside pgbench: what its transactions notice. Twenty more tables are unchanged."""
        with self.running():
            say("making twenty tables of 50 MB, and those of pgbench")
            self.make([255_000] * 20)
            self.beside_pgbench()

    def beside_pgbench(self):
        pgbench = [f"{self.binaries}/pgbench", "-n", "bench"]
        subprocess.run([f"{self.binaries}/pgbench", "-iq", "-s", "10", "bench"], check=True, env=self.environment, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.settle()
        self.snapshot()
        self.night()
        self.snapshot()
        times = {"hourly": [], "full": []}
        noticed = {"none": [], "hourly": [], "full": []}
        for number in range(self.bench.rounds):
            for name in rotated(list(noticed), number):
                # An hour's work in short.
                subprocess.run([*pgbench, "-c2", "-t500"], check=True, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.night()
                with tempfile.TemporaryDirectory(dir=self.bench.work) as folder:
                    load = subprocess.Popen([*pgbench, "-c4", "-T25", "--rate=200", "--log", f"--log-prefix={folder}/log"], env=self.environment,
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    time.sleep(3)
                    begin = time.time()
                    if name == "none":
                        time.sleep(5)
                    else:
                        times[name].append(self.snapshot(*["--full"] * (name == "full"))[0])
                    end = time.time()
                    load.wait(timeout=60)
                    latencies = []
                    for log in os.listdir(folder):
                        with open(os.path.join(folder, log)) as lines:
                            for line in lines:
                                words = line.split()
                                # Client, transaction, microseconds, script, and when it ended.
                                if begin <= int(words[4]) + int(words[5]) / 1e6 <= end:
                                    latencies.append(int(words[2]))
                    noticed[name].append(statistics.quantiles(latencies, n=20)[18])
        for name, title in [("hourly", "an hourly snapshot"), ("full", "a full snapshot")]:
            self.bench.add(f"pgbench, 200 transactions a second: p95 latency during {title} ÷ without",
                           statistics.median(noticed[name]) / statistics.median(noticed["none"]))
        self.bench.add("an hourly snapshot beside pgbench ÷ a full one, time", statistics.median(times["hourly"]) / statistics.median(times["full"]))

    def many(self):
        say("making 2,000 tables")
        self.make([1_000] * 2_000)
        self.compare("2,000 tables of which 20 changed", 0.35, lambda night: self.update(range(1 + night * 20, 21 + night * 20), night))

    def huge(self):
        say("making a table of 80 % of the database")
        self.make([2_000_000] + [125_000] * 4)
        self.cold()
        self.compare("a table of 80 % of the database to which rows were added", 0.4, lambda night: self.sql(
            "INSERT INTO t1 " + ROWS.format(seed=night * 77, rows=5_000)))

    def cold(self):
        """The first snapshot, with and without reading in ranges."""
        times = {"auto": [], "no": []}
        home = self.bench.path("home")
        os.makedirs(home, exist_ok=True)
        for number in range(self.bench.rounds):
            for name in rotated(list(times), number):
                with open(os.path.join(home, "firn.yaml"), "w") as file:
                    file.write(f"incremental: {name}\n")
                with tempfile.TemporaryDirectory(dir=home) as store:
                    environment = {**self.environment, "FIRN_STORE": store}
                    subprocess.run([f"{self.firn}/firn", "init", "--quiet"], check=True, env=environment, stdout=subprocess.DEVNULL)
                    os.sync()
                    start = time.monotonic()
                    subprocess.run([f"{self.firn}/firn-snapshot", "bench", "--quiet", "--config", os.path.join(home, "firn.yaml")], check=True,
                                   env=environment, stdout=subprocess.DEVNULL)
                    times[name].append(time.monotonic() - start)
        self.bench.add("the same database, first snapshot, read in ranges ÷ by `pg_dump` alone, time",
                       statistics.median(times["auto"]) / statistics.median(times["no"]), 0.75)
