#!/usr/bin/env python3
"""Counts the instructions that a message costs on the data path, with callgrind, and compares them with `instructions.json`.

Unlike times they are nearly the same on every machine and under any load, so that a change that makes the path longer
shows at once. `benches/instructions.py` checks, `--record` writes what it counted. Needs valgrind.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORD = HERE / "instructions.json"
WORK = ["transient-16", "transient-1k", "acked-16", "acked-single-16", "confirmed-16", "fanout-10"]
# Two runs, whose difference has no start and no end in it.
MESSAGES = (20_000, 60_000)
# Compilers, and what a processor lets the C library choose for copying, differ by up to so much; what is more is a
# change of the path. On one machine counts differ by a hundredth.
TOLERANCE = 0.20


def build() -> Path:
    """The benchmark's program."""
    command = ["cargo", "bench", "--locked", "--bench", "data_path", "--no-run", "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
    for line in done.stdout.splitlines():
        message = json.loads(line)
        # Others are built beside it, such as the broker.
        is_ours = message.get("reason") == "compiler-artifact" and message["target"]["name"] == "data_path"
        if is_ours and message.get("executable"):
            return Path(message["executable"])
    sys.exit("cargo built no program")


def count(program: Path, work: str) -> int:
    """Instructions for each delivered message."""
    totals, moved = [], []
    for messages in MESSAGES:
        with tempfile.TemporaryDirectory() as scratch:
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={scratch}/out", str(program), work, str(messages)]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
        totals.append(int(re.search(r"Collected : (\d+)", done.stderr).group(1)))
        moved.append(int(re.search(r"(\d+) delivered", done.stdout).group(1)))
    return round((totals[1] - totals[0]) / (moved[1] - moved[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write what was counted")
    arguments = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is missing (Debian: valgrind)")
    program = build()
    counted = {work: count(program, work) for work in WORK}
    if arguments.record:
        RECORD.write_text(json.dumps(counted, indent=2) + "\n")
    recorded = json.loads(RECORD.read_text())
    longer = []
    for work, instructions in counted.items():
        change = instructions / recorded[work] - 1
        print(f"{work:<16} {instructions:>6} instructions per delivered message, {change:+.1%}")
        if change > TOLERANCE:
            longer.append(work)
        elif change < -TOLERANCE:
            print(f"{work:<16} record the better figure with --record")
    if longer:
        sys.exit(f"the path is longer than recorded for {', '.join(longer)}")


if __name__ == "__main__":
    main()
