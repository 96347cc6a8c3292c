"""Measures Firn beside its peers: every figure is a ratio to a peer measured in the same run.

Run it by scripts/bench, which installs and builds what it needs.
"""

import argparse
import contextlib
import functools
import hashlib
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import bench_changes
import bench_incremental
import bench_migrate
import bench_offsite
import bench_servers
import bench_shapes
from bench_tools import POSTGRES, measure, rotated, say, sql

FIRN = os.environ["FIRN_BUILD"]
GUIDES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "Sources/FirnFrontDoor/Firn.docc")
JOBS = 2

# Of firn-restore.
OPTIONS = {"firn": [], "prove": ["--prove"], "pglz": ["--set", "default_toast_compression=pglz"]}

# Rows at size 1, which is about 1 GB of dump.
ROWS = {"users": 50_000, "documents": 220_000, "events": 1_200_000, "attachments": 20_000, "taggings": 600_000}
COLUMNS_CHANGED = {
    "users": "settings = settings || jsonb_build_object('night', {night})",
    "documents": "body = left(body, -20) || ' night {night} ', updated_at = updated_at + interval '1 day'",
    "events": "payload = payload || jsonb_build_object('night', {night})",
    "attachments": "filename = 'night_{night}_' || filename",
    "taggings": "created_at = created_at + interval '1 day'",
}


class Server:
    """A throw-away server on a socket in a private folder, and on loopback with a password."""

    def __init__(self, home, binaries=POSTGRES, more=None):
        self.home = home
        self.unprivileged = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(home, user.pw_uid, user.pw_gid)
            self.unprivileged = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
        data = os.path.join(home, "data")
        # On loopback a password is asked for: others may reach that.
        secret = secrets.token_hex(16)
        for name, line in [("secret", secret), ("pgpass", f"*:*:*:*:{secret}")]:
            with open(os.open(os.path.join(home, name), os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
                file.write(f"{line}\n")
        if self.unprivileged:
            os.chown(os.path.join(home, "secret"), user.pw_uid, user.pw_gid)
        subprocess.run(
            self.unprivileged + [
                f"{binaries}/initdb", "-D", data, "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256",
                f"--pwfile={home}/secret", "--locale=C.UTF-8", "-E", "UTF8"],
            check=True, stdout=subprocess.DEVNULL)
        self.port = bench_offsite.free_port()
        settings = {
            "listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": home, "shared_buffers": "1GB", "max_wal_size": "8GB",
            "checkpoint_timeout": "30min", "autovacuum": "off", **(more or {}),
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            self.unprivileged + [f"{binaries}/postgres", "-D", data] + arguments, stderr=open(os.path.join(home, "..", "server.log"), "w"))
        os.environ.update(
            PGHOST=home, PGPORT=str(self.port), PGUSER="postgres", PGDATABASE="postgres", PGPASSFILE=os.path.join(home, "pgpass"))
        for _ in range(200):
            if subprocess.run([f"{binaries}/pg_isready", "-q"]).returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit("bench: error: the server did not start")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


@contextlib.contextmanager
def other_server(home, binaries, settings):
    """Another server for a while. Gives the environment that leads to it."""
    before = dict(os.environ)
    os.mkdir(home, 0o700)
    server = Server(home, binaries, settings)
    try:
        yield dict(os.environ)
    finally:
        server.stop()
        os.environ.clear()
        os.environ.update(before)


def value(text, database):
    return subprocess.run(
        [f"{POSTGRES}/psql", "-XqAt", "-d", database, "-c", text], text=True, check=True, capture_output=True).stdout.strip()


class SampleDatabase:
    """Rows of a small application: the same seed gives the same bytes."""

    def __init__(self, name, size, seed):
        self.name = name
        self.seed = seed
        self.rows = {table: max(200, int(count * size)) for table, count in ROWS.items()}
        self.initial = dict(self.rows)
        sql(f"CREATE DATABASE {name}", "postgres")
        sql(self.statements("schema"), name)
        for table, count in self.rows.items():
            self.append(table, 1, count)
        sql(self.statements("indexes"), name)
        sql("VACUUM (ANALYZE); CHECKPOINT", name)

    def statements(self, which):
        return subprocess.run([f"{FIRN}/sample-data", which], check=True, capture_output=True, text=True).stdout

    def append(self, table, first, count):
        source = subprocess.Popen([f"{FIRN}/sample-data", table, str(self.seed), str(first), str(count)], stdout=subprocess.PIPE)
        subprocess.run([f"{POSTGRES}/psql", "-Xq", "-d", self.name, "-c", f"COPY {table} FROM STDIN"], stdin=source.stdout, check=True)
        if source.wait() != 0:
            raise SystemExit("bench: error: sample-data failed")

    def churn(self, night):
        """A day's work: 0.5 % scattered updates and 2 % new rows."""
        for table, change in COLUMNS_CHANGED.items():
            sql(f"UPDATE {table} SET {change.format(night=night)} WHERE id % 200 = {night * 37 % 200}", self.name)
            more = self.initial[table] // 50
            self.append(table, self.rows[table] + 1, more)
            self.rows[table] += more
        # Autovacuum with its default thresholds would come by after some ten such nights.
        sql("VACUUM; CHECKPOINT" if night % 10 == 0 else "CHECKPOINT", self.name)


class Watch:
    """Looks at the disk space a folder takes while something runs."""

    def __init__(self, folder):
        self.folder = folder
        self.peak = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.done.wait(0.02):
            total = 0
            for root, _, files in os.walk(self.folder):
                for name in files:
                    # What Firn keeps there besides the dump's files is no spool.
                    if not name.endswith(".dat"):
                        continue
                    try:
                        total += os.lstat(os.path.join(root, name)).st_blocks * 512
                    except OSError:
                        pass
            self.peak = max(self.peak, total)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def tree_size(path):
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(root, name)) for root, _, files in os.walk(path) for name in files)


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


class Bench:
    def __init__(self, work, size, rounds, nights, long_size, long_nights):
        self.work, self.size, self.rounds, self.nights = work, size, rounds, nights
        self.long_size, self.long_nights = long_size, long_nights
        self.rows = []
        self.spool = self.path("spool")
        os.mkdir(self.spool)
        secret = self.path("restic-secret")
        with open(os.open(secret, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write("for a benchmark only\n")
        # Firn remembers where stores were: those of another run had the same names.
        self.environment = dict(
            os.environ, RESTIC_PASSWORD_FILE=secret, RESTIC_CACHE_DIR=self.path("restic-cache"), TMPDIR=self.spool,
            XDG_STATE_HOME=self.path("state"), XDG_CACHE_HOME=self.path("cache"))
        for name in ["DATABASE_URL", "FIRN_STORE"]:
            self.environment.pop(name, None)

    def path(self, name):
        return os.path.join(self.work, name)

    def add(self, what, figure, bound=None):
        self.rows.append((what, figure, bound))
        verdict = "" if bound is None else ("ok" if figure <= bound else "MISSED")
        say(f"  {what}: {figure:.3f}" + ("" if bound is None else f" (wanted <= {bound}) {verdict}"))

    def snapshot(self, database, store, prefix=(), *extra):
        report = subprocess.run(
            list(prefix) + [f"{FIRN}/firn-snapshot", database, "--store", store, "--json", "--jobs", str(JOBS), *extra],
            check=True, capture_output=True, text=True, env=self.environment)
        return json.loads(report.stdout)

    def init(self, store):
        subprocess.run([f"{FIRN}/firn", "init", "--quiet", "--store", store], check=True, env=self.environment)

    def restore(self, database, store, name, snapshot="latest", *extra):
        report = subprocess.run(
            [f"{FIRN}/firn-restore", database, snapshot, "--as", name, "--store", store, "--json", "--jobs", str(JOBS), *extra],
            check=True, capture_output=True, text=True, env=self.environment)
        return json.loads(report.stdout)

    @staticmethod
    def remove(path):
        remove(path)

    def dump_directory(self, database, target):
        return measure([f"{POSTGRES}/pg_dump", "-Fd", "-Z0", f"-j{JOBS}", "-f", target, database])

    # Cold: the first night.

    def cold(self, database):
        say("cold snapshots")
        times = {"firn": [], "-Fc": [], "-Fd": [], "zstd": [], "restic": []}
        peak_memory = spool_peak = 0
        for number in range(self.rounds):
            for name in rotated(list(times), number):
                target = self.path("target")
                if name == "firn":
                    self.init(target)
                    os.sync()
                    with Watch(self.spool) as watch:
                        start = time.monotonic()
                        report = self.snapshot(database, target)
                        times[name].append(time.monotonic() - start)
                    spool_peak = max(spool_peak, watch.peak)
                    peak_memory = max(peak_memory, report["peakMemoryBytes"])
                    self.plain = report["bytes"]
                    firn_size = tree_size(target)
                elif name == "-Fc":
                    times[name].append(measure([f"{POSTGRES}/pg_dump", "-Fc", "-f", target, database]))
                    self.custom_size = tree_size(target)
                elif name == "-Fd":
                    times[name].append(self.dump_directory(database, target))
                elif name == "zstd":
                    times[name].append(measure(
                        ["sh", "-c", '"$1/pg_dump" -Fc -Z0 "$2" | zstd -3 -T0 -q -o "$3"', "sh", POSTGRES, database, target]))
                    zstd_size = tree_size(target)
                else:
                    raw = self.path("raw")
                    took = self.dump_directory(database, raw)
                    subprocess.run(["restic", "init", "-q", "-r", target], check=True, env=self.environment, stdout=subprocess.DEVNULL)
                    times[name].append(took + measure(["restic", "backup", "-q", "-r", target, raw], env=self.environment))
                    remove(raw)
                remove(target)
        median = {name: statistics.median(values) for name, values in times.items()}
        self.seconds = median
        self.add("cold snapshot / pg_dump -Fc, time", median["firn"] / median["-Fc"], 0.25)
        self.add("cold snapshot / pg_dump -Fc -Z0 | zstd -3 -T0, time", median["firn"] / median["zstd"], 0.85)
        self.add("cold snapshot / pg_dump -Fd -Z0 -j2, time", median["firn"] / median["-Fd"])
        self.add("cold snapshot / pg_dump -Fd + restic, time", median["firn"] / median["restic"])
        self.add("cold store / pg_dump -Fc file, bytes", firn_size / self.custom_size)
        self.add("cold store / pg_dump -Fc -Z0 | zstd -3 -T0 file, bytes", firn_size / zstd_size, 1.0)
        self.add("peak memory, MB", peak_memory / 1e6, 256)
        self.add("peak spool above its cap of 512 MiB, MB", max(0, spool_peak - (512 << 20)) / 1e6, 64)
        target = self.path("target")
        self.init(target)
        cap = 16 << 20
        with Watch(self.spool) as watch:
            self.snapshot(database, target, (), "--spool-cap", str(cap))
        self.add("peak spool above a cap of 16 MiB, MB", max(0, watch.peak - cap) / 1e6, 64)
        remove(target)

    # Nights of churn.

    def warm(self, database):
        say(f"{self.nights} nights of churn")
        store, repository, raw = self.path("store"), self.path("restic"), self.path("raw")
        self.init(store)
        subprocess.run(["restic", "init", "-q", "-r", repository], check=True, env=self.environment, stdout=subprocess.DEVNULL)
        times = {"firn": [], "-Fd": [], "restic": []}
        custom = 0
        for night in range(1, self.nights + 1):
            if night > 1:
                database.churn(night)
            for name in rotated(["firn", "-Fd"], night):
                if name == "firn":
                    os.sync()
                    start = time.monotonic()
                    self.snapshot(database.name, store)
                    took = time.monotonic() - start
                else:
                    took = self.dump_directory(database.name, raw)
                if night > 1:
                    times[name].append(took)
            took += measure(["restic", "backup", "-q", "-r", repository, raw], env=self.environment)
            remove(raw)
            subprocess.run([f"{POSTGRES}/pg_dump", "-Fc", "-f", self.path("custom"), database.name], check=True)
            custom += tree_size(self.path("custom"))
            say(f"  night {night}: firn {tree_size(store) / 1e6:.0f} MB, restic {tree_size(repository) / 1e6:.0f} MB, -Fc files {custom / 1e6:.0f} MB")
        self.add("warm snapshot / pg_dump -Fd -Z0 -j2, time", statistics.median(times["firn"]) / statistics.median(times["-Fd"]), 1.25)
        self.add(f"store after {self.nights} nights / restic's, bytes", tree_size(store) / tree_size(repository), 0.5)
        self.add(f"store after {self.nights} nights / as many -Fc files, bytes", tree_size(store) / custom, 0.2)
        remove(repository)
        remove(self.path("custom"))

    # The way back.

    def restores(self, database):
        say("restores")
        raw, custom, store = self.path("raw"), self.path("custom"), self.path("store")
        if not os.path.isdir(store):
            self.init(store)
            self.snapshot(database, store)
        self.dump_directory(database, raw)
        subprocess.run([f"{POSTGRES}/pg_dump", "-Fc", "-f", custom, database], check=True)
        times = {"firn": [], "prove": [], "pglz": [], "-Fd": [], "-Fd+": [], "-Fc": [], "replace": [], "guide": []}
        memory = 0
        for number in range(self.rounds):
            for name in rotated(["firn", "-Fd", "-Fc", "prove", "pglz", "replace", "guide"], number):
                copy = "restored"
                sql("CHECKPOINT", "postgres")
                if name in ("replace", "guide"):
                    times[name].append(self.replace(database, store) if name == "replace" else self.guide(database, custom))
                    continue
                if name in ("firn", "prove", "pglz"):
                    os.sync()
                    start = time.monotonic()
                    report = self.restore(database, store, copy, "latest", *OPTIONS[name])
                    times[name].append(time.monotonic() - start)
                    memory = max(memory, report["peakMemoryBytes"])
                else:
                    sql(f"CREATE DATABASE {copy} TEMPLATE template0", "postgres")
                    if name == "-Fd":
                        took = measure([f"{POSTGRES}/pg_restore", f"-j{JOBS}", "-d", copy, raw])
                        times["-Fd"].append(took)
                        times["-Fd+"].append(took + measure([f"{POSTGRES}/vacuumdb", "-q", "--analyze", f"-j{JOBS}", copy]))
                    else:
                        times["-Fc"].append(measure([f"{POSTGRES}/pg_restore", "-d", copy, custom]))
                sql(f"DROP DATABASE {copy}", "postgres")
        median = {name: statistics.median(values) for name, values in times.items()}
        say("  seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in median.items()))
        self.add("restore / pg_restore -j2 of the directory, time", median["firn"] / median["-Fd"], 0.80)
        self.add("restore with values compressed by pglz / pg_restore -j2 of the directory, time", median["pglz"] / median["-Fd"], 1.05)
        self.add("restore / pg_restore -j2 of the directory, then vacuumdb --analyze, time", median["firn"] / median["-Fd+"], 1.1)
        self.add("restore / pg_restore of the -Fc file, time", median["firn"] / median["-Fc"])
        self.add("restore in the place of a live database / a script that drops it and runs pg_restore, time", median["replace"] / median["guide"], 0.55)
        self.add("restore --prove / pg_restore -j2 of the directory, then vacuumdb --analyze, time", median["prove"] / median["-Fd+"], 1.0)
        self.add("restore, peak memory, MB", memory / 1e6, 200)
        self.table_restore(database, store)
        remove(raw)
        remove(custom)

    def replace(self, database, store):
        """From the confirmation on: both databases exist at the end."""
        took = measure(
            [f"{FIRN}/firn-restore", database, "latest", "--store", store, "--jobs", str(JOBS), "--confirm", database, "--no-safety-snapshot"],
            env=self.environment, stderr=subprocess.DEVNULL)
        kept = value("SELECT datname FROM pg_database WHERE datname LIKE '%\\_before\\_%'", "postgres")
        sql(f'DROP DATABASE "{kept}"', "postgres")
        return took

    def guide(self, database, custom):
        """The procedure of many runbooks, such as a Rails application's guide: end the sessions, drop, create, pg_restore over TCP."""
        sql(f"CREATE DATABASE guided TEMPLATE {database} STRATEGY file_copy", "postgres")
        script = """set -e
        psql -q -d postgres << EOF
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'guided';
        DROP DATABASE IF EXISTS guided;
        CREATE DATABASE guided;
        GRANT ALL PRIVILEGES ON DATABASE guided TO postgres;
        EOF
        pg_restore -h localhost -U postgres -d guided -v "$1"
        """.replace("\n        ", "\n")
        took = measure(
            ["sh", "-c", script, "sh", custom], env=dict(os.environ, PATH=f"{POSTGRES}:/usr/bin:/bin"), stderr=subprocess.DEVNULL)
        sql("DROP DATABASE guided", "postgres")
        return took

    def table_restore(self, database, store):
        """One table out of the whole: which objects are read, beside which hold it by the chunk table, read here by other means."""
        report = json.loads(subprocess.run(
            [f"{FIRN}/firn-restore", database, "--table", "public.users", "--store", store, "--json"],
            check=True, capture_output=True, text=True, env=self.environment).stdout)
        folder = os.path.join(store, "snapshots")
        for _ in range(2):
            folder = os.path.join(folder, os.listdir(folder)[0])
        folder = os.path.join(folder, report["id"])
        with open(os.path.join(folder, "manifest.json")) as file:
            wanted = {"toc.dat"} | {table["file"] for table in json.load(file)["tables"] if table["name"] == "users"}
        text = subprocess.run(["zstd", "-dc", os.path.join(folder, "chunks.tsv.zst")], check=True, capture_output=True).stdout
        holding, inside = set(), False
        for line in text.split(b"\n"):
            fields = line.split(b"\t")
            if fields[0] == b"F":
                inside = fields[1].decode() in wanted
            elif fields[0] == b"@" and inside:
                holding.add(int(fields[1]))
        say(f"  public.users: {report['objectsRead']} objects read, {len(holding)} hold it, {report['objectsOfSnapshot']} in the snapshot")
        self.add("restore of one table, objects read / objects that hold it", report["objectsRead"] / len(holding), 1.0)
        sql(f"DROP SCHEMA {report['restoredAs']} CASCADE", database)

    # Proofs.

    def proofs(self, database):
        say("proofs")
        store = self.path("store")
        peer = 'xargs -n 8 -P "$1" sh -c \'sha256sum "$@" && zstd -tq "$@"\' sh'
        lists = {}
        for root, _, files in os.walk(os.path.join(store, "snapshots")):
            if "SHA256SUMS" in files:
                with open(os.path.join(root, "SHA256SUMS")) as file:
                    lists[os.path.basename(root)] = {line.split()[1] for line in file if "  objects/" in line}
        latest = max(lists)
        needed = {"peer": lists[latest], "peer all": set().union(*lists.values())}
        times = {"peer": [], "first": [], "peer all": [], "first all": [], "again": []}
        for number in range(self.rounds):
            for name in rotated(list(times), number):
                if name in needed:
                    times[name].append(measure(
                        ["sh", "-c", peer, "sh", str(os.cpu_count())], cwd=store, input="\n".join(sorted(needed[name])).encode()))
                    continue
                # What was read once as it was dumped is not decoded again: its objects' digests say the same.
                self.forget_checks(store)
                command = [f"{FIRN}/firn-verify", database, latest if name == "first" else "all", "--read", "--quiet", "--store", store]
                took = measure(command, env=self.environment)
                times[name].append(measure(command, env=self.environment) if name == "again" else took)
        median = {name: statistics.median(values) for name, values in times.items()}
        say("  seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in median.items()))
        self.add("--read of a snapshot for the first time / sha256sum and zstd -t of its objects on all cores, time", median["first"] / median["peer"], 1.25)
        self.add("--read of all snapshots again / the same of all objects, time", median["again"] / median["peer all"], 1.25)
        self.add(f"--read of {len(lists)} snapshots for the first time / the same, time", median["first all"] / median["peer all"])
        times = {"restore": [], "drill": []}
        for number in range(self.rounds):
            for name in rotated(list(times), number):
                os.sync()
                start = time.monotonic()
                if name == "restore":
                    self.restore(database, store, "restored")
                else:
                    subprocess.run(
                        [f"{FIRN}/firn-verify", database, "--drill", "--store", store, "--quiet", "--jobs", str(JOBS)],
                        check=True, stdout=subprocess.DEVNULL, env=self.environment)
                times[name].append(time.monotonic() - start)
                if name == "restore":
                    sql("DROP DATABASE restored", "postgres")
        median = {name: statistics.median(values) for name, values in times.items()}
        say("  seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in median.items()))
        self.add("drill / restore, time", median["drill"] / median["restore"], 1.6)

    def forget_checks(self, store):
        for root, _, _ in os.walk(os.path.join(store, "snapshots")):
            if os.path.basename(root) == "checks":
                remove(root)

    # recover.sh.

    def recovery(self, database):
        say("recover.sh")
        store = self.path("store")
        report = json.loads(subprocess.run(
            [f"{FIRN}/firn", "list", "--json", "--store", store], check=True, capture_output=True, text=True, env=self.environment).stdout)
        for which, entry in (("first", report["snapshots"][0]), ("last", report["snapshots"][-1])):
            script = os.path.join(store, "snapshots", entry["source"], entry["database"], entry["id"], "recover.sh")
            target = self.path("recovered")
            took = measure(["sh", script, target], stderr=subprocess.DEVNULL)
            self.add(f"recover.sh, {which} night: 50 MB/s / its rate", 50e6 / (entry["bytes"] / took), 1.0)
            remove(target)

    # Sixty nights, pruned as most people prune.

    def long_run(self):
        say(f"{self.long_nights} nights with pruning")
        database = SampleDatabase("longrun", self.long_size, 5)
        store = self.path("long")
        self.init(store)
        environment = dict(self.environment, FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_NO_CACHE="1")
        peak = 0
        first = last = None
        for night in range(1, self.long_nights + 1):
            if night > 1:
                database.churn(night)
            day = time.strftime("%Y-%m-%d", time.gmtime(1_767_225_600 + night * 86400))
            fake = ["env", "TZ=UTC", "faketime", "-f", f"{day} 02:00:00"]
            self.environment, before = environment, self.environment
            report = self.snapshot(database.name, store, fake)
            subprocess.run(
                fake + [f"{FIRN}/firn-prune", database.name, "--store", store, "--quiet", "--apply", "--keep-daily", "7", "--keep-weekly", "4",
                        "--keep-monthly", "12"], check=True, env=environment, stdout=subprocess.DEVNULL)
            self.environment = before
            peak = max(peak, report["peakMemoryBytes"])
            if night == 1:
                first = self.restore_rate(database.name, store, report)
            last = report
            say(f"  night {night}: {tree_size(store) / 1e6:.0f} MB") if night % 10 == 0 else None
        sixtieth = self.restore_rate(database.name, store, last)
        fresh = self.path("fresh")
        self.init(fresh)
        fresh = self.restore_rate(database.name, fresh, self.snapshot(database.name, fresh))
        self.add(f"restoring night {self.long_nights} / restoring the first night, time a byte", sixtieth / first, 1.1)
        self.add(f"restoring night {self.long_nights} / restoring the same from a new store, time", sixtieth / fresh)
        self.add(f"store after {self.long_nights} nights with pruning / what those kept need, bytes", tree_size(store) / self.needed(store), 1.5)
        remove(fresh)
        remove(store)
        sql(f"DROP DATABASE {database.name}", "postgres")

    def restore_rate(self, database, store, report):
        """Seconds a plain byte, the median of three."""
        times = []
        for _ in range(3):
            sql("CHECKPOINT", "postgres")
            os.sync()
            start = time.monotonic()
            self.restore(database, store, "longrun_copy", report["id"])
            times.append(time.monotonic() - start)
            sql("DROP DATABASE longrun_copy", "postgres")
        return statistics.median(times) / report["bytes"]

    def needed(self, store):
        """The bytes of a store that holds only what `store` still lists: each restored in turn, oldest first, and snapshotted again."""
        listed = json.loads(subprocess.run(
            [f"{FIRN}/firn", "list", "--json", "--store", store], check=True, capture_output=True, text=True, env=self.environment).stdout)
        target = self.path("needed")
        self.init(target)
        for entry in listed["snapshots"]:
            self.restore(entry["database"], store, "needed", entry["id"])
            self.snapshot("needed", target)
            sql("DROP DATABASE needed", "postgres")
        size = tree_size(target)
        remove(target)
        return size

    def memory_at(self, factor):
        say(f"memory at {factor} times the size")
        database = SampleDatabase("large", self.size * factor, 9)
        store = self.path("large")
        self.init(store)
        report = self.snapshot(database.name, store)
        self.add(f"peak memory at {report['bytes'] / 1e9:.1f} GB, MB", report["peakMemoryBytes"] / 1e6, 256)
        report = self.snapshot(database.name, store)
        self.add("peak memory of the next night there, MB", report["peakMemoryBytes"] / 1e6, 256)
        remove(store)
        sql(f"DROP DATABASE {database.name}", "postgres")

    def large(self):
        """Pruning in a store of thousands of snapshots; seconds have no peer here, so growth is shown by three sizes of store."""
        for count in (1250, 2500, 5000):
            store = self.path("many")
            self.init(store)
            objects = fill_store(store, count)
            label = f"{count} snapshots, {objects / 1e6:.1f} million objects"
            few = ["--keep-last", str(count - 10)]
            most = ["--keep-daily", "30", "--keep-weekly", "12", "--keep-monthly", "24"]
            for what, arguments, bound in (("plan to remove ten", few, 2), ("plan to remove most", most, None), ("collection without deletions", ["--gc-only"], 60)):
                seconds, peak = [], 0
                for _ in range(self.rounds):
                    start = time.monotonic()
                    peak = max(peak, self.peak_of([f"{FIRN}/firn-prune", "--store", store, "--quiet"] + arguments))
                    seconds.append(time.monotonic() - start)
                self.add(f"{label}: {what}, s", statistics.median(seconds), bound)
                self.add(f"{label}: {what}, peak memory, MB", peak / 1e6, 400)
            remove(store)

    def peak_of(self, command):
        """Runs a command; the most memory it had, in bytes."""
        with open(os.devnull, "w") as nowhere:
            process = subprocess.Popen(command, env=self.environment, stdout=nowhere, stderr=nowhere)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"bench: error: {command[0]} ended with {process.returncode}")
        return usage.ru_maxrss * 1024

    def table(self):
        size = f"{self.plain / 1e9:.2f}" if self.plain else f"about {self.size:g}"
        lines = [f"| {size} GB of dump, {os.cpu_count()} cores, medians of {self.rounds} | measured | target |", "|---|---|---|"]
        for what, figure, bound in self.rows:
            number = f"{figure:.0f}" if "MB" in what.split(",")[-1] else f"{figure:.2f}"
            lines.append(f"| {what} | {number} |" + (f" ≤ {bound} |" if bound is not None else " |"))
        return "\n".join(lines)

    def report(self):
        print(self.table())
        return all(bound is None or figure <= bound for _, figure, bound in self.rows)

    def write(self, parts):
        """Puts the table in the place of an earlier one of the same parts in the performance guide, or at the end of its tables."""
        path = os.path.join(GUIDES, "Performance.md")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        begin, end = f"<!-- scripts/bench --only {parts} -->", "<!-- end -->"
        block = f"{begin}\n{self.table()}\n{end}"
        if begin in text:
            before, rest = text.split(begin, 1)
            text = before + block + rest.split(end, 1)[1]
        else:
            before, after = text.rsplit(end, 1)
            text = f"{before}{end}\n\n{block}{after}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

def fill_store(store, count, new=400, live=1000, database="app"):
    """Lists `count` nightly snapshots up to now in a store that was made: each names `live` objects, `new` of them its own.

    Objects have sizes and no bytes: pruning reads names alone. The manifest is as long as that of some thirty tables.
    """
    chance = random.Random(f"5 {database}")
    for number in range(256):
        os.makedirs(f"{store}/objects/{number:02x}", mode=0o700, exist_ok=True)
    made = 0

    def make():
        nonlocal made
        made += 1
        name = f"{chance.getrandbits(256):064x}"
        file = os.open(f"{store}/objects/{name[:2]}/{name}.zst", os.O_CREAT | os.O_WRONLY, 0o600)
        os.ftruncate(file, chance.randrange(1000, 8_000_000))
        os.close(file)
        return name

    named = [make() for _ in range(live)]
    first = time.time() - count * 86400
    for night in range(count):
        for place in chance.sample(range(live), new):
            named[place] = make()
        started = time.gmtime(first + night * 86400)
        identity = time.strftime("%Y%m%dT%H%M%SZ-aaaa", started)
        folder = f"snapshots/s/{database}/{identity}"
        os.makedirs(f"{store}/{folder}/checks", mode=0o700)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", started)
        write_json(f"{store}/{folder}/manifest.json", manifest(identity, stamp, database))
        write_json(f"{store}/{folder}/checks/{identity[:16]}.json", {
            "level": "read", "ok": True, "checkedAt": stamp, "seconds": 1, "host": "bench", "firn": "bench"})
        for name in ("chunks.tsv.zst", "globals.sql.zst", "recover.sh"):
            open(f"{store}/{folder}/{name}", "w").close()
        lines = [f"{name}  objects/{name[:2]}/{name}.zst\n" for name in sorted(named)]
        for name in ("chunks.tsv.zst", "globals.sql.zst", "manifest.json", "recover.sh"):
            with open(f"{store}/{folder}/{name}", "rb") as file:
                lines.append(f"{hashlib.sha256(file.read()).hexdigest()}  {folder}/{name}\n")
        with open(f"{store}/{folder}/SHA256SUMS", "w") as file:
            file.write("".join(lines) + f"# {len(lines)} checksums\n")
    return made


def write_json(path, content):
    with open(path, "w") as file:
        json.dump(content, file)


def manifest(identity, stamp, database):
    tables = [{"schema": "public", "name": f"table_{number}", "file": f"{3000 + number}.dat", "rows": 1000, "bytes": 100000, "sha256": "0" * 64}
              for number in range(30)]
    return {
        "formatVersion": 1, "id": identity, "source": "s", "database": database, "kind": "nightly", "tags": {}, "startedAt": stamp, "finishedAt": stamp,
        "complete": True, "incompleteReasons": [], "warnings": [],
        "versions": {"firn": "bench", "pgDump": "pg_dump", "server": "15.0", "serverNumber": 150000},
        "properties": {"owner": "o", "encoding": "UTF8", "localeProvider": "c", "collate": "C", "ctype": "C", "tablespace": "pg_default",
                       "connectionLimit": -1, "settings": []},
        "extensions": [], "roles": [], "tables": tables, "sequences": [], "largeObjects": 0, "tablespaces": [], "bytes": 3000000,
        "storedBytes": 1000000, "newObjects": 400, "chunkTable": {"headBytes": 0, "bytes": 0},
    }


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, help="GB of dump text, about (default 1)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (default 3)")
    parser.add_argument("--nights", type=int, default=7, help="nights of churn beside restic (default 7)")
    parser.add_argument("--long-size", type=float, default=0.2, help="GB, about, of the database of the long run (default 0.2)")
    parser.add_argument("--long-nights", type=int, default=60, help="nights of the long run (default 60)")
    parser.add_argument("--only", default="cold,warm,restores,shapes,proofs,recovery,offsite,servers,incremental,hourly,changes,backfill,memory,long,large",
                        help="parts to run, in this order (proofs and recovery want warm)")
    parser.add_argument("--markdown", action="store_true", help="write the table into the performance guide, too")
    options = parser.parse_args()
    parts = options.only.split(",")
    root = os.environ.get("TMPDIR", "/var/tmp")
    work = tempfile.mkdtemp(prefix="firn-bench-", dir=root)
    os.chmod(work, 0o711)
    home = os.path.join(work, "server")
    os.mkdir(home, 0o700)
    server = Server(home)
    try:
        bench = Bench(work, options.size, options.rounds, options.nights, options.long_size, options.long_nights)
        bench.plain = 0
        if set(parts) & {"cold", "warm", "restores", "proofs", "recovery", "offsite"}:
            say(f"making a database of about {options.size:g} GB")
            database = SampleDatabase("bench", options.size, 1)
        if "cold" in parts:
            bench.cold(database.name)
        if "warm" in parts:
            bench.warm(database)
        if "restores" in parts:
            bench.restores(database.name)
        if "shapes" in parts:
            bench_shapes.Shapes(bench, JOBS).run()
        if "proofs" in parts:
            bench.proofs(database.name)
        if "recovery" in parts:
            bench.recovery(database.name)
        if "offsite" in parts:
            bench_offsite.OffSite(bench, database).run()
        if "servers" in parts:
            bench_servers.Servers(bench, FIRN, fill_store).run()
        if {"incremental", "hourly"} & set(parts):
            server_of = functools.partial(other_server, os.path.join(work, "server18"))
            incremental = bench_incremental.Incremental(bench, FIRN, server_of, os.environ["BENCH_PG18"])
            if "incremental" in parts:
                incremental.run()
            if "hourly" in parts:
                incremental.hourly()
        if "changes" in parts:
            server_of = functools.partial(other_server, os.path.join(work, "server17"))
            picture = os.path.join(GUIDES, "NightCost.svg") if options.markdown else None
            bench_changes.Changes(bench, FIRN, server_of, os.environ["BENCH_PG17"], os.environ["BENCH_PEERS"], picture).run()
        if "backfill" in parts:
            bench_migrate.Backfill(bench, FIRN).run()
        if "memory" in parts:
            bench.memory_at(4)
        if "long" in parts:
            bench.long_run()
        if "large" in parts:
            bench.large()
        reached = bench.report()
        # The part `changes` draws a picture instead of a table.
        if options.markdown and parts != ["changes"]:
            bench.write(options.only)
    finally:
        server.stop()
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
