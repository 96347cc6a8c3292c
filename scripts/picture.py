#!/usr/bin/python3
"""Runs commands on a terminal of 112 columns, and draws what it showed: `picture.py FILE.svg`"""

import html
import os
import pty
import re
import select
import sys
import time

COLUMNS = 112
COMMANDS = [
    ("firn restore shop", [("type shop", "shop\n")]),
    ("firn restore shop --undo", [("type shop", "shop\n")]),
]
COLORS = {"31": "#c4392e", "32": "#2e7d46", "33": "#9a6700", "1": "#1c2733"}
LINE, CHARACTER, MARGIN = 19, 8.4, 18


def run(command, answers):
    """What a terminal showed of a command: lines of (text, colour)."""
    process, terminal = pty.fork()
    if process == 0:
        os.execvp("/bin/sh", ["sh", "-c", f"stty cols {COLUMNS} rows 50; exec {command}"])
    shown, answers, deadline = "", list(answers), time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if not ready:
            # It waits for an answer at the end of a line.
            if answers and re.search(r"[:>] ?$", shown):
                os.write(terminal, answers.pop(0)[1].encode())
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part.decode(errors="replace")
    os.waitpid(process, 0)
    # The folder of this run's server is of no interest to a reader.
    shown = re.sub(r"/var/tmp/firn-picture-\w+/server", "/run/postgresql", shown)
    return [row for line in shown.replace("\r\n", "\n").split("\n") for row in wrapped(screen_line(line))]


def screen_line(line):
    """The text of a line after all drawing over it, with colours."""
    line = re.sub(r"\x1b\[K", "", line.split("\r")[-1])
    parts, color = [], None
    for piece in re.split(r"(\x1b\[\d*m)", line):
        match = re.fullmatch(r"\x1b\[(\d*)m", piece)
        if match:
            color = COLORS.get(match.group(1))
        elif piece:
            parts.append((piece, color))
    return parts


def wrapped(parts):
    """The rows of the screen that a line takes."""
    rows, room = [[]], COLUMNS
    for text, color in parts:
        while len(text) > room:
            rows[-1].append((text[:room], color))
            rows.append([])
            text, room = text[room:], COLUMNS
        if text:
            rows[-1].append((text, color))
            room -= len(text)
    return rows


def draw(lines):
    height = MARGIN * 2 + LINE * len(lines)
    width = int(MARGIN * 2 + CHARACTER * COLUMNS)
    result = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
        "<title>firn restore replaces a live database, and --undo brings the previous one back</title>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#f6f8fa" stroke="#d0d7de"/>',
        '<g font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="14" fill="#1c2733" xml:space="preserve">',
    ]
    for number, parts in enumerate(lines):
        spans = "".join(f'<tspan fill="{color}">{html.escape(text)}</tspan>' if color else html.escape(text) for text, color in parts)
        if spans:
            result.append(f'<text x="{MARGIN}" y="{MARGIN + LINE * number + 13}">{spans}</text>')
    return "\n".join(result + ["</g>", "</svg>"]) + "\n"


def main():
    lines = []
    for command, answers in COMMANDS:
        lines.append([("$ ", "#57606a"), (command, COLORS["1"])])
        shown = run(command, answers)
        while shown and not shown[-1]:
            shown.pop()
        lines += shown + [[]]
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(draw(lines[:-1]))


if __name__ == "__main__":
    main()
