#!/usr/bin/env python3
"""Counts the instructions of the stages in regress.rs under valgrind, and compares them with those in regress.toml.

Fails if a stage needs more than 3 % more. With --record, writes the counts instead. They depend on the compiler and on
the architecture, which are recorded with them.
"""

import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tomllib

HERE = pathlib.Path(__file__).parent
RECORD = HERE / "regress.toml"
STAGES = {
    "text_to_sql": "from the text of three filters to SQL, in both dialects",
    "page_to_json": "from the rows of a page of 100 movies to JSON",
}
# As in regress.rs.
RUNS = 20
# The smallest count of so many is compared: how often a thread waits for another one differs by one percent.
REPEATS = 3
TOLERANCE = 0.03


def build(name):
    """Builds a benchmark. Returns its path."""
    command = [os.environ.get("CARGO", "cargo"), "bench", "--bench", name, "--no-run"]
    command += ["--message-format=json-render-diagnostics"]
    output = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
    for line in output.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            return message["executable"]
    sys.exit(f"cargo built no benchmark named {name}")


def count(program, stage):
    """The instructions of one run of a stage."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += ["--collect-atstart=no", f"--toggle-collect=*counted_{stage}*", program]
    output = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    found = re.search(r"Collected : (\d+)", output.stderr)
    if output.returncode != 0 or not found or found[1] == "0":
        sys.exit(f"valgrind counted nothing for {stage}:\n{output.stderr}")
    return int(found[1]) // RUNS


def main():
    if not shutil.which("valgrind"):
        sys.exit("valgrind not found; on Debian: sudo apt-get install valgrind")
    version = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    compiler = f"{version.stdout.strip()}, {platform.machine()}"
    program = build("regress")
    counts = {stage: min(count(program, stage) for _ in range(REPEATS)) for stage in STAGES}
    if sys.argv[1:] == ["--record"]:
        lines = [f"# {text}\n{stage} = {counts[stage]}\n" for stage, text in STAGES.items()]
        head = f"# Instructions, written by `make regress RECORD=1`.\ncompiler = \"{compiler}\"\n\n[instructions]\n"
        RECORD.write_text(head + "".join(lines))
        return
    recorded = tomllib.loads(RECORD.read_text())
    if recorded["compiler"] != compiler:
        print(f"recorded with {recorded['compiler']}; counted with {compiler}, so they may differ: record anew")
    is_slower = False
    for stage, text in STAGES.items():
        before, now = recorded["instructions"][stage], counts[stage]
        change = now / before - 1
        verdict = "as recorded"
        if change > TOLERANCE:
            is_slower, verdict = True, "SLOWER"
        elif change < -TOLERANCE:
            verdict = "faster: record it with `make regress RECORD=1`"
        print(f"{stage:14}{before:>12,}{now:>12,}{change:>+8.1%}  {verdict}  ({text})")
    if is_slower:
        sys.exit("a stage needs more instructions; if that is meant, record it with `make regress RECORD=1`")


if __name__ == "__main__":
    main()
