#!/usr/bin/python3
"""Writes the manual page of one of Firn's programs from what the program says of itself: `manual.py PROGRAM > PAGE`"""

import json
import os
import re
import subprocess
import sys


def plain(text):
    """Text as roff prints it: a backslash, and a dot or quote that begins a line, mean something there."""
    text = (text or "").replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.split("\n"))


def paragraphs(text):
    """The discussion's paragraphs; indented lines stay as they are."""
    result = []
    for part in text.strip("\n").split("\n\n"):
        if part.startswith(" "):
            result += [".PP", ".nf", plain("\n".join(line[2:] for line in part.split("\n"))), ".fi"]
        else:
            result += [".PP", plain(part)]
    return result


def option_names(argument):
    value = argument.get("valueName", "")
    names = ["\\fB" + plain(("-" if name["kind"] == "short" else "--") + name["name"]) + "\\fR" for name in argument.get("names", [])]
    text = ", ".join(names) if names else "\\fI" + plain(value).upper() + "\\fR"
    return text + (f" \\fI{plain(value).upper()}\\fR" if argument["kind"] == "option" else "")


def synopsis(command, name):
    parts = [f"\\fB{plain(name)}\\fR"]
    shown = [argument for argument in command.get("arguments", []) if argument.get("shouldDisplay", True)]
    if any(argument["kind"] != "positional" for argument in shown):
        parts.append("[\\fIOPTION\\fR]...")
    for argument in shown:
        if argument["kind"] == "positional":
            text = "\\fI" + plain(argument["valueName"]).upper() + "\\fR" + ("..." if argument.get("isRepeating") else "")
            parts.append(f"[{text}]" if argument.get("isOptional") else text)
    return " ".join(parts)


def arguments(command, common):
    lines = []
    for argument in command.get("arguments", []):
        if not argument.get("shouldDisplay", True) or option_names(argument) in common:
            continue
        default = argument.get("defaultValue")
        more = f" (default: {default})" if default and "efault" not in argument.get("abstract", "") else ""
        lines += [".TP", option_names(argument), plain((argument.get("abstract") or "") + more)]
    return lines


def commands(command, before=""):
    """All that do something, with those of subcommands, by what is typed after the program's name."""
    result = []
    for sub in command.get("subcommands", []):
        if not sub.get("shouldDisplay", True) or sub["commandName"] == "help":
            continue
        name = f"{before}{sub['commandName']}"
        result += commands(sub, f"{name} ") or [{**sub, "commandName": name}]
    return result


ENVIRONMENT = [
    ("DATABASE_URL", "The server and database, as a URL of libpq or of Rails. libpq's own variables (PGHOST, PGSERVICE, PGPASSWORD and others) apply too."),
    ("FIRN_STORE", "The location of the repository."),
    ("FIRN_IDENTITY", "The file of the age identity for an encrypted repository."),
    ("FIRN_PG_BIN", "A folder of PostgreSQL's programs, which is searched first."),
    ("NO_COLOR", "If it is not empty, nothing is printed in colour."),
    ("TMPDIR", "The directory for temporary files; default: /var/tmp."),
]


def help_of(program, words):
    return subprocess.run([program, *words.split(), "--help"], check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout


def section(text, title):
    """The lines of a help below a title, up to the next empty line."""
    found = re.search(rf"^{title}:\n((?:.+\n?)*)", text, re.MULTILINE)
    return found.group(1) if found else ""


def examples(text):
    lines = []
    for line in text.splitlines():
        lines += [".TP", f"\\fB{plain(line.strip())}\\fR"] if not line.startswith("      ") else [plain(line.strip())]
    return lines


def page(program, names):
    asked = subprocess.run([program, "--experimental-dump-help"], check=True, capture_output=True, text=True)
    command = json.loads(asked.stdout)["command"]
    name = command["commandName"]
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip().splitlines()[0]
    abstract = command["abstract"].rstrip(".")
    discussion = command.get("discussion", "")
    lines = [f'.TH {plain(name.upper())} 1 "" "Firn {plain(version)}" "Firn"', ".SH NAME", f"{plain(name)} \\- {plain(abstract[0].lower() + abstract[1:])}"]
    subs = commands(command)
    lines += [".SH SYNOPSIS"]
    for sub in subs:
        lines += [synopsis(sub, f"{name} {sub['commandName']}"), ".br"]
    if not subs:
        lines.append(synopsis(command, name))
    lines += [".SH DESCRIPTION"] + paragraphs(discussion)
    if subs:
        # What every one has stands once, at the end.
        common = set.intersection(*[{option_names(argument) for argument in sub.get("arguments", []) if argument["kind"] != "positional"} for sub in subs])
        lines.append(".SH COMMANDS")
        for sub in subs:
            lines += [".SS " + plain(f"{name} {sub['commandName']}"), plain(sub["abstract"])] + paragraphs(sub.get("discussion", "")) + arguments(sub, common)
        shared = [argument for argument in subs[0]["arguments"] if option_names(argument) in common]
        lines += [".SH OPTIONS OF EVERY COMMAND"] + arguments({"arguments": shared}, set())
    else:
        lines += [".SH OPTIONS"] + arguments(command, set())
    lines.append(".SH EXAMPLES")
    for sub in ([command] if not subs else [{"commandName": ""}] + subs):
        lines += examples(section(help_of(program, sub["commandName"] if subs else ""), "EXAMPLES"))
    lines.append(".SH EXIT STATUS")
    for code, meaning in re.findall(r"^ +(\d+)  (.+(?:\n {7}.+)*)$", section(help_of(program, ""), "EXIT CODES"), re.MULTILINE):
        lines += [".TP", f"\\fB{code}\\fR", plain(re.sub(r"\n +", " ", meaning))]
    lines += [".SH ENVIRONMENT"]
    for variable, meaning in ENVIRONMENT:
        lines += [".TP", f"\\fB{variable}\\fR", plain(meaning)]
    lines += [".SH FILES", ".TP", "\\fI./firn.yaml\\fR, \\fI~/.config/firn/firn.yaml\\fR, \\fI/etc/firn/firn.yaml\\fR",
              "The first of these that is there is read; see \\fBfirn.yaml\\fR(5)."]
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{plain(other)}\\fR(1)" for other in names if other != name) + ", \\fBfirn.yaml\\fR(5), \\fBpg_dump\\fR(1), \\fBpg_restore\\fR(1)"]
    return "\n".join(lines) + "\n"


def main():
    program = sys.argv[1]
    names = sorted(name for name in os.listdir(os.path.dirname(os.path.abspath(program))) if re.fullmatch("firn(-[a-z]+)?", name))
    sys.stdout.write(page(program, names))


if __name__ == "__main__":
    main()
