"""Puts what the benchmarks printed on one page: page.py OUT NAME=FILE...

Each FILE holds what bench/NAME/run printed: Markdown tables, whose first title is the job and whose first column is who
did it. What the project set itself as a goal is looked up in them.
"""

import datetime
import os
import platform
import re
import subprocess
import sys

TITLES = {
    "process": "Sessions",
    "netlink": "rtnetlink",
    "netfilter": "nf_tables",
    "nft": "The nft language",
    "seccomp": "seccomp filters",
}

# Goals: bench, job, who, column, the bound. A ratio is to the floor, a program that does the kernel's part of the job and
# nothing else, or to the best peer, in the same run. The floor moves by a factor of two between processors; the peer moves
# with it.
GOALS = [
    ("netlink", "dump 100 000 routes", "Linx", "x floor", "<=", 2.5),
    ("netlink", "dump 1 003 links", "Linx", "x floor", "<=", 2.5),
    ("netlink", "add 10 000 routes, an ack each", "Linx", "x floor", "<=", 3.0),
    ("netlink", "add 10 000 routes, an ack each", "Linx", "wall x rtnetlink", "<=", 1.2),
    ("netlink", "dump 100 000 routes", "Linx", "CPU x rtnetlink", "<=", 0.6),
    ("netlink", "dump 1 003 links", "Linx", "CPU x rtnetlink", "<=", 0.5),
    ("netlink", "file reads", "beside 20 pushes of 100 000 elements", "worst ms", "<=", 50),
    ("netlink", "add 10 000 routes, batched", "Linx", "x floor", "<=", 1.5),
    ("netfilter", "load 10000 rules", "Linx", "x floor", "<=", 1.5),
    ("netfilter", "load a set of 100000", "Linx", "x floor", "<=", 1.3),
    ("netfilter", "pull 10000 rules", "Linx", "x floor", "<=", 3.5),
    ("netfilter", "pull a set of 100000", "Linx", "x floor", "<=", 2.0),
    ("process", "start of /bin/true to its end", "Linx.Process, 5 namespaces", "x floor", "<=", 2.0),
    ("process", "start of /bin/true to its end", "Linx.Process", "x floor", "<=", 3.3),
    ("process", "100 parked sessions, PSS of each", "session", "median KB", "<=", 150),
    ("process", "output to the owner, 64 MB", "Linx.Process, pty", "x plain", ">=", 1.0),
]

RULE = re.compile(r"^\|(\s*:?-+:?\s*\|)+\s*$")


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables(text):
    """{(job, who): {title: cell}}"""
    found = {}
    lines = text.splitlines()
    titles = None
    for number, line in enumerate(lines):
        if not line.startswith("|"):
            titles = None
        elif number + 1 < len(lines) and RULE.match(lines[number + 1]):
            titles = cells(line)
        elif titles and not RULE.match(line):
            row = cells(line)
            # Of two columns with one title the first: ratios follow what they are of, and CPU time stands before wall.
            found[(titles[0], row[0])] = dict(reversed(list(zip(titles, row))))
    return found


def said(*command):
    """The first line of what a program says of itself, or None if it is not installed."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    lines = (run.stdout or run.stderr).strip().splitlines()
    return lines[0] if lines else None


def field(file, name):
    with open(file) as lines:
        for line in lines:
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    return "unknown"


def machine(load):
    kilobytes = int(field("/proc/meminfo", "MemTotal").split()[0])
    peers = [("ip", "-V"), ("nft", "--version"), ("bwrap", "--version"), ("unshare", "--version")]
    versions = [said(*peer) or f"{peer[0]}: not installed" for peer in peers]
    rows = [
        ("Date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("Kernel", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("Processor", f"{field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} of them"),
        ("Memory", f"{kilobytes / 1048576:.1f} GiB"),
        ("Load average at the start", load),
        ("Elixir, OTP", f"{said('elixir', '--short-version')}, {os.environ.get('LINX_BENCH_OTP', '')}"),
        ("Rust", said("rustc", "--version")),
        ("Peers", "; ".join(versions)),
    ]
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows)


def goals(results):
    text = "| Job | Who | Measure | Goal | Here | |\n|---|---|---|---|---|---|\n"
    missed = 0
    for bench, job, who, column, relation, bound in GOALS:
        if bench not in results:
            continue
        row = results[bench].get((job, who))
        if row is None:
            sys.exit(f"page.py: bench/{bench}/run printed no row '{who}' of '{job}'")
        value = float(row[column])
        met = value <= bound if relation == "<=" else value >= bound
        missed += not met
        bound_text = f"{'at most' if relation == '<=' else 'at least'} {bound:g}"
        text += f"| {job} | {who} | {column} | {bound_text} | {row[column]} | {'met' if met else 'missed'} |\n"
    return text, missed


def main():
    out, *sources = sys.argv[1:]
    texts = {}
    for source in sources:
        name, file = source.split("=", 1)
        with open(file) as lines:
            texts[name] = lines.read().strip()
    results = {name: tables(text) for name, text in texts.items()}
    goal_table, missed = goals(results)

    page = "# Benchmarks\n\n"
    page += (
        "Made by `bin/bench`; do not edit. Read the ratios rather than the times. Each is to a floor in the same run: a\n"
        "program that does the kernel's part of the job, in C or Rust, and nothing else. The floor alone moves by a factor\n"
        "of two between processors, so peers stand beside it where there are any, and the ratio to a peer says more. What\n"
        "a call costs a scheduler is not here but in the tests, which fail if one keeps a scheduler for 5 ms.\n\n"
    )
    page += f"## The machine\n\n{machine(os.environ.get('LINX_BENCH_LOAD', ''))}\n"
    page += f"## The goals\n\n{goal_table}"
    for name, text in texts.items():
        page += f"\n## {TITLES[name]}\n\n`bench/{name}/run`: {text}\n"
    with open(out, "w") as file:
        file.write(page)
    print(goal_table)
    print(f"bench: {missed} of the goals missed; the page is {out}")


main()
