"""The shared parts of the benchmark."""

import os
import subprocess
import sys
import time

POSTGRES = os.environ["PG_BIN"]


def say(text):
    print(text, file=sys.stderr, flush=True)


def sql(text, database):
    subprocess.run([f"{POSTGRES}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database], input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def measure(command, **options):
    """Runs a command, or a list of commands as a pipe or a row. Seconds of the clock."""
    os.sync()
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)
    return time.monotonic() - start


def rotated(names, number):
    number %= len(names)
    return names[number:] + names[:number]
