#!/usr/bin/python3
"""Runs every test suite of a built test program in a process of its own, several side by side: `suites.py PROGRAM [PATTERN]`

PATTERN is a regular expression for the names of suites. Prints the output of suites that failed, the twenty slowest tests, and a count.
"""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

# Suites that take longest begin first, so that none of them is left alone at the end.
LONGEST = ["swap of databases", "is killed", "Firn installed", "made by others", "oddity", "simulated worlds", "Sixty nights"]
# These follow. Each runs as one job.
LONG = ["file server", "firn-prune`", "as pg_restore does", "An incremental snapshot", "firn-migrate", "A drill", "A very large table", "by file times", "of random histories",
        "kept database", "forget"]
# Tests wait for servers, locks and clocks, so more run than there are processors.
AT_ONCE = int(os.environ.get("FIRN_TEST_JOBS", 0)) or 2 + (os.cpu_count() or 2)
# Seconds; none comes near it.
LIMIT = 1500


def suites(program):
    """The tests of each suite, as `CommandTests.`A drill`` and `creates roles()`."""
    listed = subprocess.run([program, "--testing-library", "swift-testing", "--list-tests"], check=True, capture_output=True, text=True)
    tests = {}
    for line in listed.stdout.splitlines():
        if "/" in line:
            suite, test = line.split("/", 1)
            tests.setdefault(suite, []).append(test)
    return tests


def rank(name, tests):
    order = LONGEST + LONG
    return (next((place for place, part in enumerate(order) if part in name), len(order)), -len(tests[name]))


def run(program, name, test=None, shard=None):
    pattern = "^" + "".join(f"[{letter}]" if letter in ".()[]{}*+?|$" else letter for letter in f"{name}/{test or ''}")
    environment = dict(os.environ)
    if shard:
        environment["FIRN_TEST_SHARD"] = shard
    # Clusters in memory go with their suite. Its servers end with it, and write until they have.
    folder = os.environ.get("FIRN_TEST_MEMORY")
    memory = tempfile.mkdtemp(prefix="", dir=folder) if folder else None
    if memory:
        os.chmod(memory, 0o711)
        environment["FIRN_TEST_MEMORY"] = memory
    began = time.monotonic()
    command = [program, "--testing-library", "swift-testing", "--no-parallel", "--filter", pattern]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, timeout=LIMIT)
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        status, output = -1, (late.stdout or b"") + f"\nnot finished after {LIMIT} s\n".encode()
    finally:
        for _ in range(100 if memory else 0):
            shutil.rmtree(memory, ignore_errors=True)
            if not os.path.exists(memory):
                break
            time.sleep(0.1)
        if memory and os.path.exists(memory):
            print(f"left in memory: {memory}", flush=True)
    text = re.sub(r"\x1b\[[0-9;]*m", "", output.decode(errors="replace"))
    title = name.split(".", 1)[1].strip("`") + (f" ({shard})" if shard else f": {test.strip('`()')}" if test else "")
    # A suite whose tests were all filtered away would pass.
    if status == 0 and not re.search(r"Test run with [1-9]\d* tests?", text):
        status, text = -1, text + "\nno test ran\n"
    return title, status, text, time.monotonic() - began


def main():
    program = sys.argv[1]
    tests = suites(program)
    names = sorted((name for name in tests if len(sys.argv) < 3 or re.search(sys.argv[2], name)), key=lambda name: rank(name, tests))
    # A suite that takes as long as many others is spread over several processes.
    jobs = []
    for name in names:
        if "made by others" in name:
            jobs += [(name, None, f"{part}/4") for part in range(4)]
        elif any(part in name for part in LONGEST):
            jobs += [(name, test, None) for test in tests[name]]
        else:
            jobs.append((name, None, None))
    began = time.monotonic()
    failed, slowest, passed = [], [], 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run, program, *job) for job in jobs]):
            title, status, text, seconds = done.result()
            for test, took in re.findall(r'Test (?!run with)"?([^"\n]+?)"?(?: with \d+ test cases)? (?:passed|failed) after ([\d.]+) seconds', text):
                slowest.append((float(took), f"{title}: {test}"))
            passed += len(re.findall(r"^✔ Test ", text, re.MULTILINE)) - len(re.findall(r"^✔ Test run ", text, re.MULTILINE))
            if status != 0:
                failed.append(title)
                print(f"--- {title}: exit code {status}\n{text}", flush=True)
            else:
                print(f"{seconds:7.1f} s  {title}", flush=True)
    print("\nslowest tests:")
    for took, test in sorted(slowest, reverse=True)[:20]:
        print(f"{took:7.1f} s  {test}")
    print(f"\n{passed} tests of {len(names)} suites passed, {len(failed)} suites failed, in {time.monotonic() - began:.0f} s")
    for title in failed:
        print(f"failed: {title}")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
