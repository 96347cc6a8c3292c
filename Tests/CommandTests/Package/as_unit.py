"""Runs a command with the system calls that a unit of systemd allows it: as_unit.py UNIT-FILE COMMAND [ARGUMENT]…

What `SystemCallFilter=` names is expanded by systemd-analyze, as the systemd of this machine does."""
import ctypes
import os
import subprocess
import sys

import seccomp


def calls(name):
    """The calls of a set, which may name other sets; a call is a set of itself."""
    if not name.startswith("@"):
        return {name}
    lines = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout.splitlines()
    inner = [line.strip() for line in lines[1:]]
    return set().union(*(calls(word) for word in inner if word and not word.startswith("#")))


with open(sys.argv[1]) as unit:
    named = [word for line in unit if line.startswith("SystemCallFilter=") for word in line.split("=", 1)[1].split()]
assert named, "the unit allows every call"
# systemd-analyze prints the calls that every process needs in a set of their own.
allowed = set().union(*(calls(word) for word in named + ["@default"]))
filter = seccomp.SyscallFilter(seccomp.ERRNO(1))
for call in sorted(allowed):
    try:
        filter.add_rule(seccomp.ALLOW, call)
    except (ValueError, RuntimeError, OSError):
        pass  # Of other architectures.
assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
filter.load()
os.execv(sys.argv[2], sys.argv[2:])
