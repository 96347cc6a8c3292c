"""Measures what a backfill does to those who work meanwhile; used by bench.py."""

import glob
import os
import random
import subprocess
import time

from bench_tools import POSTGRES, say, sql

CLIENTS, RATE, QUIET_SECONDS = 4, 200, 20


class Load:
    """pgbench at a steady rate, which keeps a record of each transaction."""

    def __init__(self, folder, database, seconds):
        os.mkdir(folder)
        self.folder = folder
        self.process = subprocess.Popen(
            [f"{POSTGRES}/pgbench", "-n", "-c", str(CLIENTS), "-j", "2", "-R", str(RATE), "-T", str(seconds), "-l", "--log-prefix", f"{folder}/log", database],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def latencies(self, start, end):
        """Milliseconds of the transactions that ended between two times, waiting for their turn included."""
        found = []
        for path in glob.glob(f"{self.folder}/log.*"):
            with open(path) as file:
                for line in file:
                    # The last one was cut off when the load was ended.
                    if not line.endswith("\n"):
                        continue
                    fields = line.split()
                    ended = int(fields[4]) + int(fields[5]) / 1e6
                    if start <= ended <= end:
                        found.append(int(fields[2]) / 1000)
        return sorted(found)


def p95(values):
    return values[int(len(values) * 0.95)]


class Backfill:
    def __init__(self, bench, firn, kills=10):
        self.bench, self.firn, self.kills = bench, firn, kills

    def run(self):
        say("a backfill of a million rows under pgbench, killed and resumed")
        database = "backfill"
        sql(f"CREATE DATABASE {database}", "postgres")
        subprocess.run([f"{POSTGRES}/pgbench", "-i", "-q", "-s", "10", database], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        sql("ALTER TABLE pgbench_accounts ADD COLUMN marks int NOT NULL DEFAULT 0; VACUUM (ANALYZE); CHECKPOINT", database)
        load = Load(self.bench.path("quiet"), database, QUIET_SECONDS)
        start = time.time()
        load.process.wait()
        alone = load.latencies(start + 3, time.time())

        load = Load(self.bench.path("busy"), database, 900)
        time.sleep(3)
        start = time.time()
        environment = dict(self.bench.environment, HOME=self.bench.work, XDG_STATE_HOME=self.bench.path("state"))
        command = [f"{self.firn}/firn-migrate", "backfill", "--database-url", f"postgresql:///{database}?host={os.environ['PGHOST']}&user=postgres",
                   "--table", "pgbench_accounts", "--set", "marks = marks + 1", "--quiet"]
        chance = random.Random(7)
        killed = 0
        while True:
            run = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            try:
                status = run.wait(chance.uniform(0.5, 4) if killed < self.kills else 600)
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
                killed += 1
                continue
            if status != 0:
                raise SystemExit(f"bench: error: the backfill ended with {status}")
            break
        end = time.time()
        load.process.terminate()
        load.process.wait()
        during = load.latencies(start, end)
        wrong = subprocess.run(
            [f"{POSTGRES}/psql", "-XqAt", "-d", database, "-c", "SELECT count(*) FROM pgbench_accounts WHERE marks <> 1"],
            check=True, capture_output=True, text=True).stdout.strip()
        say(f"  killed {killed} times, {end - start:.0f} s; p95 {p95(alone):.1f} ms alone ({len(alone)}), {p95(during):.1f} ms beside it ({len(during)})")
        self.bench.add("backfill: p95 latency of pgbench / alone", p95(during) / p95(alone), 2.0)
        self.bench.add("backfill: rows not changed just once", float(wrong), 0.0)
        sql(f"DROP DATABASE {database}", "postgres")
