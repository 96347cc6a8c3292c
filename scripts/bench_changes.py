"""A night's cost over the share of tables that changed: Firn beside `pg_dump -Fc`, a dump that restic stores, and pgBackRest's increments.

All four back up the same database, one after the other, after the same change. Times are ratios to a bare `pg_dump -Fd -Z0 -j2` of the
same rows, which is the first half of restic's night.
"""

import html
import json
import math
import os
import pwd
import shutil
import statistics
import subprocess
import time

from bench_incremental import ROWS
from bench_tools import rotated, say

TABLES, ROWS_OF_TABLE = 20, 127_500
SHARES = [0, 5, 10, 25, 50, 100]
JOBS = 2

# In the order of the legend: name, colour on light and on dark ground, marker. The markers distinguish the lines without colours, too.
TOOLS = {
    "custom": ("pg_dump -Fc", "#9a6700", "#d9a441", "triangle"),
    "restic": ("pg_dump -Fd, then restic", "#8250df", "#b793f5", "square"),
    "pgbackrest": ("pgBackRest, incremental", "#c4392e", "#ff8378", "diamond"),
    "firn": ("Firn, incremental", "#0b6bcb", "#58a6ff", "circle"),
}
PEER = "pg_dump -Fd -Z0 -j2"

# What pgBackRest's guide advises for small increments. Without `start-fast` it would wait for the next checkpoint by the clock, with
# the default `compress-type=gz` it would be slow, and without blocks it would store each changed file as a whole.
PGBACKREST = """[global]
repo1-path={repository}
repo1-retention-full=2
repo1-bundle=y
repo1-block=y
compress-type=zst
compress-level=3
process-max={jobs}
start-fast=y
log-level-file=off
log-level-console=error
lock-path={passing}/lock
spool-path={passing}/spool

[bench]
pg1-path={socket}/data
pg1-socket-path={socket}
pg1-port={port}
pg1-user=postgres
"""


def tree_size(folder):
    return sum(os.path.getsize(os.path.join(root, name)) for root, _, files in os.walk(folder) for name in files)


class Changes:
    """Twenty tables of about 25 MB of text each, of which more and more change."""

    def __init__(self, bench, firn, server, binaries, programs, picture=None):
        """Takes what the measurements need.

        `bench` gives folders, the environment and the number of rounds, and takes the figures. `firn` is the folder of Firn's programs,
        `binaries` that of PostgreSQL 17 or later, `programs` that of pgbackrest and restic. `server` starts a server for a while, and
        gives the environment that leads to it. `picture` is the file that the picture is written to, if any.
        """
        self.bench, self.firn, self.server, self.binaries, self.programs, self.picture = bench, firn, server, binaries, programs, picture
        self.nights = 0
        self.seconds, self.stored = {}, {}
        self.home = bench.path("pgbackrest")
        self.as_server = []

    def run(self):
        self.make_pgbackrest_folder()
        settings = {"summarize_wal": "on", "archive_mode": "on", "archive_command": " ".join(self.pgbackrest("archive-push", "%p"))}
        with self.server(self.binaries, settings) as environment:
            server = {name: text for name, text in environment.items() if name.startswith("PG")}
            self.environment = {
                **self.bench.environment, **server, "FIRN_PG_BIN": self.binaries, "FIRN_STORE": self.bench.path("changes"),
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1", "TZ": "UTC"}
            self.make()
            # The same tables change first always, so those that a later share adds have not changed before.
            for share in SHARES:
                self.measure(share)
        self.report()
        if self.picture:
            with open(self.picture, "w", encoding="utf-8") as file:
                file.write(draw(self.ratios(), self.bench.rounds))

    def ratios(self):
        """A ratio to the peer for each share of each tool."""
        return {tool: {share: seconds[tool] / seconds["dump"] for share, seconds in self.seconds.items()} for tool in TOOLS}

    def report(self):
        for share in SHARES:
            for tool, ratios in self.ratios().items():
                self.bench.add(f"{share} % of the tables changed: {TOOLS[tool][0]} ÷ `{PEER}`, time", ratios[share])
        for share in SHARES:
            for tool in TOOLS:
                self.bench.add(f"{share} % of the tables changed: {TOOLS[tool][0]}, stored, MB", self.stored[share][tool] / 1e6)

    # The server and its data.

    def command(self, arguments):
        subprocess.run(arguments, check=True, env=self.environment, stdout=subprocess.DEVNULL)

    def sql(self, *statements, database="bench"):
        """Runs statements, each in a transaction of its own. Gives what they return."""
        commands = [part for text in statements for part in ("-c", text)]
        return subprocess.run(
            [f"{self.binaries}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, *commands], check=True, text=True,
            env=self.environment, stdout=subprocess.PIPE).stdout.strip()

    def make(self):
        """Makes the tables, and gives each tool what it has before a usual night."""
        say(f"making {TABLES} tables of 25 MB")
        self.write_pgbackrest_settings()
        self.command(self.as_server + self.pgbackrest("stanza-create"))
        self.make_database()
        for number in range(1, TABLES + 1):
            self.sql(f"CREATE TABLE t{number} AS " + ROWS.format(seed=number * 10_000_000, rows=ROWS_OF_TABLE))
        self.sql("VACUUM (FREEZE, ANALYZE)")
        self.command([f"{self.firn}/firn", "init", "--quiet"])
        self.command([f"{self.programs}/restic", "init", "-q", "-r", self.bench.path("restic")])
        # The first backup of each is a whole one. The second reads what the first one left to be read again.
        for _ in range(2):
            self.nights += 1
            for tool in TOOLS:
                self.settle()
                self.back_up(tool)

    def make_database(self):
        self.sql("CREATE DATABASE bench", database="postgres")

    def change(self, tables):
        """A day's work: 0.5 % of the rows of each changed table, all over the table. Then something reads these tables."""
        for number in range(1, tables + 1):
            self.sql(
                f"UPDATE t{number} SET body = left(body, -3) || '{self.nights % 900 + 100}' WHERE id % 200 = {self.nights % 200}",
                f"SELECT count(*) FROM t{number} WHERE body > 'f'")

    def settle(self):
        """A checkpoint, and the archive gets the log."""
        self.sql("CHECKPOINT")
        while self.sql("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'") != "0":
            time.sleep(0.1)
        os.sync()

    def measure(self, share):
        seconds = {name: [] for name in [*TOOLS, "dump"]}
        stored = {name: [] for name in [*TOOLS, "log in pgBackRest's archive"]}
        for number in range(self.bench.rounds):
            self.nights += 1
            before = tree_size(f"{self.home}/repository/archive")
            self.change(TABLES * share // 100)
            for tool in rotated(list(TOOLS), number):
                self.settle()
                took, size = self.back_up(tool)
                seconds[tool].append(took)
                stored[tool].append(size)
            if share < 100 and not self.taken_over:
                raise SystemExit("bench: error: Firn read all tables, though some had not changed: see firn-snapshot --verbose")
            seconds["dump"].append(self.dump_seconds)
            stored["log in pgBackRest's archive"].append(tree_size(f"{self.home}/repository/archive") - before)
        self.seconds[share] = {name: statistics.median(values) for name, values in seconds.items()}
        self.stored[share] = {name: statistics.median(values) for name, values in stored.items()}
        say(f"{share} % of the tables changed")
        say("  seconds: " + ", ".join(f"{name} {took:.2f}" for name, took in self.seconds[share].items()))
        say("  MB stored: " + ", ".join(f"{name} {size / 1e6:.2f}" for name, size in self.stored[share].items()))

    # One night of each tool: seconds, and bytes that it stored.

    def back_up(self, tool):
        return getattr(self, f"back_up_by_{tool}")()

    def timed(self, folder, command, codes=(0,)):
        """Seconds that a command takes, by how many bytes it makes a folder grow, and what it prints."""
        before = tree_size(folder)
        start = time.monotonic()
        done = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE)
        took = time.monotonic() - start
        if done.returncode not in codes:
            raise SystemExit(f"bench: error: {command[0]} ended with {done.returncode}")
        return took, tree_size(folder) - before, done.stdout

    def back_up_by_firn(self):
        """By Firn's clock a day has passed since the night before. It reads unchanged tables again by the time that has passed, so a
        night a few seconds later would be cheaper than a real one."""
        day = time.strftime("%Y-%m-%d", time.gmtime(1_767_225_600 + self.nights * 86400))
        # 3: there are warnings, which are no matter here.
        took, size, text = self.timed(
            self.environment["FIRN_STORE"],
            ["faketime", "-f", f"{day} 02:00:00", f"{self.firn}/firn-snapshot", "bench", "--json", "--jobs", str(JOBS)], codes=(0, 3))
        self.taken_over = json.loads(text).get("tablesTakenOver", 0)
        return took, size

    def back_up_by_custom(self):
        target = self.bench.path("custom")
        start = time.monotonic()
        self.command([f"{self.binaries}/pg_dump", "-Fc", "-f", target, "bench"])
        took = time.monotonic() - start
        size = os.path.getsize(target)
        os.remove(target)
        return took, size

    def back_up_by_restic(self):
        """The dump is only passing, so it is not forced onto the disk, and its removal is not measured."""
        target, repository = self.bench.path("dump"), self.bench.path("restic")
        start = time.monotonic()
        self.command([f"{self.binaries}/pg_dump", "-Fd", "-Z0", f"-j{JOBS}", "--no-sync", "-f", target, "bench"])
        self.dump_seconds = time.monotonic() - start
        took, size, _ = self.timed(repository, [f"{self.programs}/restic", "backup", "-q", "-r", repository, target])
        shutil.rmtree(target)
        return self.dump_seconds + took, size

    def back_up_by_pgbackrest(self):
        """The log that it archives by day is counted apart: the other tools have nothing like it."""
        return self.timed(f"{self.home}/repository/backup", self.as_server + self.pgbackrest("backup", "--type=incr"))[:2]

    # pgBackRest runs as the server's user: its repository gets the log from the server.

    def pgbackrest(self, command, *arguments):
        return [f"{self.programs}/pgbackrest", f"--config={self.home}/settings", "--stanza=bench", command, *arguments]

    def make_pgbackrest_folder(self):
        os.mkdir(self.home, 0o700)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.home, user.pw_uid, user.pw_gid)
            self.as_server = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]

    def write_pgbackrest_settings(self):
        text = PGBACKREST.format(
            repository=f"{self.home}/repository", passing=self.home, jobs=JOBS, socket=self.environment["PGHOST"], port=self.environment["PGPORT"])
        with open(f"{self.home}/settings", "w") as file:
            file.write(text)


# The picture.

WIDTH, HEIGHT = 720, 430
LEFT, RIGHT, TOP, BOTTOM = 68, 24, 92, 62
STEPS = [digit * 10.0 ** power for power in range(-3, 4) for digit in (1, 2, 5)]


def marker(shape, x, y):
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    if shape == "square":
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    corners = {"triangle": [(0, -5.5), (5, 4), (-5, 4)], "diamond": [(0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)]}[shape]
    return '<polygon points="' + " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners) + '"/>'


def draw(ratios, rounds):
    """An SVG picture of a line for each tool: `ratios` has a ratio for each share of each tool. The vertical axis is logarithmic."""
    values = [value for line in ratios.values() for value in line.values()] + [1]
    bottom = max(step for step in STEPS if step <= min(values))
    top = min(step for step in STEPS if step >= max(values))

    def across(share):
        return LEFT + (WIDTH - LEFT - RIGHT) * share / 100

    def down(value):
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - math.log(value / bottom) / math.log(top / bottom))

    def text(x, y, words, more=""):
        return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{html.escape(words)}</text>'

    title = "Time of a night's backup over the share of tables that changed"
    light = "".join(f".{tool} {{ stroke: {color}; fill: {color}; }} " for tool, (_, color, _, _) in TOOLS.items())
    dark = "".join(f".{tool} {{ stroke: {color}; fill: {color}; }} " for tool, (_, _, color, _) in TOOLS.items())
    result = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{title}</title>",
        "<style>",
        "text { font: 13px sans-serif; fill: #1c2733; } .title { font-size: 15px; font-weight: bold; } .small { font-size: 12px; fill: #57606a; }",
        ".ground { fill: #f6f8fa; stroke: #d0d7de; } .grid { stroke: #d0d7de; } .peer { stroke: #57606a; stroke-dasharray: 5 4; }",
        f"polyline {{ fill: none !important; stroke-width: 2.2; }} {light}",
        "@media (prefers-color-scheme: dark) {",
        "text { fill: #e6edf3; } .small { fill: #9aa5b1; } .ground { fill: #161b22; stroke: #30363d; } .grid { stroke: #30363d; } "
        ".peer { stroke: #9aa5b1; }",
        dark.strip(),
        "}",
        "</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        text(LEFT, 26, title, ' class="title"'),
        text(LEFT, 45, f"{TABLES} tables of 25 MB; 0.5 % of the rows of a changed table; PostgreSQL 17, {os.cpu_count()} cores, "
             + (f"medians of {rounds}" if rounds > 1 else "one round"), ' class="small"'),
    ]
    x = 24.0
    for tool, (name, _, _, shape) in TOOLS.items():
        result.append(f'<g class="{tool}"><polyline points="{x:.1f},68 {x + 26:.1f},68"/>{marker(shape, x + 13, 68)}</g>')
        result.append(text(x + 32, 72, name))
        x += 50 + 6.3 * len(name)
    for step in (step for step in STEPS if bottom <= step <= top):
        y = down(step)
        result.append(f'<line class="{"peer" if step == 1 else "grid"}" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        result.append(text(LEFT - 8, y + 4, f"{step:g}", ' text-anchor="end"'))
    for share in SHARES:
        result.append(text(across(share), HEIGHT - BOTTOM + 20, f"{share} %", ' text-anchor="middle"'))
    result.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "share of the tables that changed since the last night", ' text-anchor="middle"'))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    result.append(text(20, middle, f"time ÷ {PEER} (logarithmic)", f' text-anchor="middle" transform="rotate(-90 20 {middle:.1f})"'))
    for tool, line in ratios.items():
        points = [(across(share), down(value)) for share, value in sorted(line.items())]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        result.append(f'<g class="{tool}"><polyline points="{joined}"/>' + "".join(marker(TOOLS[tool][3], x, y) for x, y in points) + "</g>")
    return "\n".join([*result, "</svg>"]) + "\n"
