"""Measures stores in buckets, copies and encryption, each beside the like of it in a folder or a peer; used by bench.py."""

import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

from bench_tools import measure, rotated, say, sql

KEY, SECRET = "benchkey", "benchsecret"
WEED = os.environ.get("BENCH_WEED", "")
PROXY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "proxy.py")


def free_port(taken=set()):
    # SeaweedFS adds 10000 for a second port of each.
    for port in range(21000, 32000):
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise SystemExit("bench: error: no free port")


class ObjectServer:
    """SeaweedFS with authentication, on loopback."""

    def __init__(self, folder):
        self.folder = folder
        os.mkdir(folder, 0o700)
        os.mkdir(f"{folder}/data")
        with open(f"{folder}/identities.json", "w") as file:
            json.dump({"identities": [{"name": "bench", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                                       "actions": ["Admin", "Read", "Write", "List"]}]}, file)
        self.ports = [free_port() for _ in range(4)]
        self.port = self.ports[3]
        self.start()

    def start(self):
        master, volume, filer, s3 = self.ports
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", WEED, "server", f"-dir={self.folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
             f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}",
             "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", f"-s3.config={self.folder}/identities.json",
             "-master.volumeSizeLimitMB=256", "-volume.max=200", "-volume.preStopSeconds=0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"HOME": self.folder, "PATH": "/usr/bin:/bin"})

    def crash(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.crash()


class Proxy:
    def __init__(self, bench, target, *options):
        self.port = free_port()
        self.report = bench.path(f"proxy-{self.port}.json")
        self.process = subprocess.Popen([sys.executable, PROXY, str(self.port), str(target), self.report, *options])
        for _ in range(100):
            if os.path.exists(self.report):
                return
            time.sleep(0.05)
        raise SystemExit("bench: error: the proxy did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        with open(self.report) as file:
            return json.load(file)


class OffSite:
    def __init__(self, bench, database):
        self.bench, self.database = bench, database
        bench.environment.update(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)
        self.server = ObjectServer(bench.path("objects"))
        self.count = 0
        self.wait()

    def wait(self):
        for _ in range(200):
            if self.aws("PUT", "probe") in (200, 409):
                return
            time.sleep(0.3)
        raise SystemExit("bench: error: SeaweedFS did not start")

    def aws(self, method, path):
        done = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "--aws-sigv4", "aws:amz:us-east-1:s3", "-K", "-",
             f"http://127.0.0.1:{self.server.port}/{path}"], input=f"user = {KEY}:{SECRET}\n", text=True, capture_output=True)
        return int(done.stdout or 0)

    def bucket(self, port=None):
        """A new bucket, as a location."""
        self.count += 1
        name = f"bucket-{self.count}"
        if self.aws("PUT", name) != 200:
            raise SystemExit("bench: error: no bucket was made")
        return self.location(name, port)

    def location(self, name, port=None):
        return f"s3://{name}/firn?endpoint=http://127.0.0.1:{port or self.server.port}"

    def remove_bucket(self, location):
        name = location[5:].split("/")[0]
        subprocess.run(["rclone", "purge", f"bench:{name}"], check=False, env=self.rclone(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def rclone(self, port=None):
        # What leads AWS's tools elsewhere would lead rclone astray.
        plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return dict(
            plain, RCLONE_CONFIG=self.bench.path("rclone.conf"), RCLONE_CONFIG_BENCH_TYPE="s3", RCLONE_CONFIG_BENCH_PROVIDER="Other",
            RCLONE_CONFIG_BENCH_ACCESS_KEY_ID=KEY, RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY=SECRET, RCLONE_CONFIG_BENCH_REGION="us-east-1",
            RCLONE_CONFIG_BENCH_ENDPOINT=f"http://127.0.0.1:{port or self.server.port}")

    def processor_time(self):
        """Processor seconds so far, without the object server's."""
        with open("/proc/stat") as file:
            ticks = [int(word) for word in file.readline().split()[1:]]
        with open(f"/proc/{self.server.process.pid}/stat") as file:
            own = file.read().rsplit(")", 1)[1].split()
        busy = sum(ticks) - ticks[3] - ticks[4]
        return (busy - int(own[11]) - int(own[12])) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def server_apart(self):
        """The object server has a processor of its own, and all others share the rest, as if it were another machine."""
        with open(f"{os.environ['PGHOST']}/data/postmaster.pid") as file:
            database_server = int(file.readline())
        processors = sorted(os.sched_getaffinity(0))

        def place(process, allowed):
            for thread in os.listdir(f"/proc/{process}/task"):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread), allowed)

        place(self.server.process.pid, processors[-1:])
        for process in (database_server, os.getpid()):
            place(process, processors[:-1] or processors)
        try:
            yield
        finally:
            for process in (self.server.process.pid, database_server, os.getpid()):
                place(process, processors)

    def timed(self, body):
        os.sync()
        start = time.monotonic()
        result = body()
        return time.monotonic() - start, result

    def firn(self, *arguments):
        done = subprocess.run(
            [f"{os.environ['FIRN_BUILD']}/firn", *arguments], capture_output=True, text=True, env=self.bench.environment)
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout.strip()

    def run(self):
        say("off-site")
        try:
            for part in (self.snapshots, self.restores_and_copies, self.nights, self.latency):
                part()
        finally:
            self.server.stop()

    def snapshots(self):
        """Straight to a bucket, and encrypted, beside a folder in clear."""
        bench = self.bench
        identity = bench.path("identity")
        recipient = self.firn("key", "new", identity)
        together = self.snapshot_times(["folder", "bucket", "encrypted"], recipient)
        with self.server_apart():
            apart = self.snapshot_times(["folder", "bucket"], recipient)
        bench.add(
            "cold snapshot to a bucket on loopback, whose server has a processor of its own / to a folder, time",
            apart["bucket"] / apart["folder"], 1.25)
        bench.add("the same where the object server shares the processors", together["bucket"] / together["folder"])
        bench.add("cold snapshot, encrypted / in clear, time", together["encrypted"] / together["folder"], 1.10)

    def snapshot_times(self, names, recipient):
        """Seconds of a first snapshot to each."""
        bench = self.bench
        times = {name: [] for name in names}
        processor = {name: [] for name in names}
        for number in range(bench.rounds):
            for name in rotated(names, number):
                target = self.bucket() if name == "bucket" else bench.path("target")
                self.firn("init", "--quiet", "--store", target, *(["--recipient", recipient] if name == "encrypted" else []))
                before = self.processor_time()
                took, _ = self.timed(lambda: bench.snapshot(self.database.name, target))
                times[name].append(took)
                processor[name].append(self.processor_time() - before)
                if name == "bucket":
                    self.remove_bucket(target)
                else:
                    shutil.rmtree(target)
        median = {name: statistics.median(values) for name, values in times.items()}
        say("  seconds: " + ", ".join(
            f"{name} {seconds:.2f} (of processors, without the object server's, {statistics.median(processor[name]):.2f})"
            for name, seconds in median.items()))
        return median

    def restores_and_copies(self):
        bench = self.bench
        store = bench.path("offsite-store")
        bench.init(store)
        report = bench.snapshot(self.database.name, store)
        times = {"firn": [], "rclone": []}
        for number in range(bench.rounds):
            for name in rotated(list(times), number):
                location = self.bucket()
                if name == "firn":
                    took, _ = self.timed(lambda: self.firn("copy", "--quiet", "--from", store, "--to", location))
                else:
                    took = measure(
                        ["rclone", "copy", "--transfers", "8", "--checkers", "8", store, f"bench:{location[5:].split('?')[0]}"], env=self.rclone(),
                        stderr=subprocess.DEVNULL)
                times[name].append(took)
                self.remove_bucket(location)
        median = {name: statistics.median(values) for name, values in times.items()}
        say("  seconds: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in median.items()))
        bench.add("firn copy to a bucket / rclone copy --transfers 8, time", median["firn"] / median["rclone"], 1.0)
        location = self.bucket()
        self.firn("copy", "--quiet", "--from", store, "--to", location)
        times = {"folder": [], "bucket": []}
        for number in range(bench.rounds):
            for name in rotated(list(times), number):
                sql("CHECKPOINT", "postgres")
                took, _ = self.timed(lambda: bench.restore(self.database.name, store if name == "folder" else location, "restored", report["id"]))
                times[name].append(took)
                sql("DROP DATABASE restored", "postgres")
        median = {name: statistics.median(values) for name, values in times.items()}
        say("  seconds: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in median.items()))
        bench.add("restore from a bucket on loopback / from a folder, time", median["bucket"] / median["folder"], 1.15)
        self.remove_bucket(location)

    def nights(self):
        """The bytes transferred on a second night."""
        bench = self.bench
        location = self.bucket()
        name = location[5:].split("/")[0]
        store = bench.path("offsite-store")
        reports = []
        for night in (1, 2):
            if night == 2:
                self.database.churn(2)
                bench.snapshot(self.database.name, store)
            proxy = Proxy(bench, self.server.port)
            self.firn("copy", "--quiet", "--from", store, "--to", self.location(name, proxy.port), "latest")
            reports.append(proxy.stop())
        for number, report in enumerate(reports, 1):
            requests = ", ".join(f"{count} {method}" for method, count in sorted(report["requests"].items()))
            say(f"  night {number}: {report['sent'] / 1e6:.1f} MB sent; {requests}")
        bench.add("bytes a copy sends in the second night / in the first", reports[1]["sent"] / reports[0]["sent"], 0.1)
        bench.add("requests of the second night / of the first",
                  sum(reports[1]["requests"].values()) / sum(reports[0]["requests"].values()))
        self.remove_bucket(location)

    def latency(self):
        """The same transfers with 50 ms from question to answer; without, through the same proxy."""
        bench = self.bench
        store = bench.path("offsite-store")
        listed = json.loads(self.firn("list", "--json", "--store", store))["snapshots"]
        times = {0: ([], []), 0.025: ([], [])}
        for number in range(bench.rounds):
            for delay in rotated(list(times), number):
                copies, restores = times[delay]
                name = self.bucket()[5:].split("/")[0]
                proxy = Proxy(bench, self.server.port, "--delay", str(delay))
                location = self.location(name, proxy.port)
                # It is there already, as every night but the first.
                self.firn("init", "--quiet", "--store", location)
                took, _ = self.timed(lambda: self.firn("copy", "--quiet", "--from", store, "--to", location, "latest"))
                copies.append(took)
                sql("CHECKPOINT", "postgres")
                took, _ = self.timed(lambda: bench.restore(self.database.name, location, "restored", listed[-1]["id"]))
                restores.append(took)
                sql("DROP DATABASE restored", "postgres")
                proxy.stop()
                self.remove_bucket(self.location(name))
        times = {delay: tuple(statistics.median(values) for values in both) for delay, both in times.items()}
        say("  seconds: " + ", ".join(f"{delay * 2000:.0f} ms: copy {copy:.2f}, restore {restore:.2f}" for delay, (copy, restore) in times.items()))
        bench.add("copy with 50 ms of latency / without, time", times[0.025][0] / times[0][0], 1.333)
        bench.add("restore with 50 ms of latency / without, time", times[0.025][1] / times[0][1], 1.333)
