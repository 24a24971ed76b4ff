#!/usr/bin/env python3
"""Runs `shardc solve` on problems at their limits and prints the table of docs/performance.md.

    bench/solve.py FOLDER [--shardc build/shardc] [--scale 0.5] [NAME=SECONDS ...]

FOLDER holds the IOPDDL contest's files, asplos-2025-iopddl-NAME.json.gz. Answers are judged here, from the file.
"""
import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMITS = {"A": 60, "G": 120, "M": 180, "S": 240}
BEST_KNOWN = {"A": 6_548_641_531, "G": 217_039, "M": 49_928_460_991, "S": 1_511_377_982}


def judge(path, chosen):
    """The cost of an answer; raises when it does not fit."""
    problem = json.load(gzip.open(path))["problem"]
    nodes, edges = problem["nodes"], problem["edges"]
    assert len(chosen) == len(nodes["costs"])
    cost = sum(costs[s] for costs, s in zip(nodes["costs"], chosen))
    for (u, v), costs in zip(edges["nodes"], edges["costs"]):
        cost += costs[chosen[u] * len(nodes["costs"][v]) + chosen[v]]
    changes = {}
    for (lower, upper), usages, s in zip(nodes["intervals"], nodes["usages"], chosen):
        if lower < upper:
            changes[lower] = changes.get(lower, 0) + usages[s]
            changes[upper] = changes.get(upper, 0) - usages[s]
    usage = 0
    for t in sorted(changes):
        usage += changes[t]
        assert usage <= problem["usage_limit"], f"usage {usage} at time {t}"
    assert cost < 10**18
    return cost


def solve(shardc, path, limit):
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        start = time.time()
        run = subprocess.run([shardc, "solve", path, str(limit), "--json", out.name], capture_output=True, text=True,
                             check=False)
        seconds = time.time() - start
        if run.returncode != 0:
            sys.exit(f"{path}: exit {run.returncode}: {run.stderr}")
        facts = json.load(open(out.name))
    cost = judge(path, json.loads(run.stdout.splitlines()[-1]))
    assert cost == facts["cost"] and facts["bound"] <= cost
    return seconds, cost, facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("problems", nargs="*", help="NAME=SECONDS; by default all four at the contest's limits")
    parser.add_argument("--shardc", default="build/shardc")
    parser.add_argument("--scale", type=float, default=1, help="of the limits")
    options = parser.parse_args()
    limits = dict(p.split("=") for p in options.problems) or LIMITS
    print("| problem | limit s | seconds | cost | best known | above it | bound | gap |\n|---|---|---|---|---|---|---|---|")
    for name, limit in limits.items():
        limit = float(limit) * options.scale
        seconds, cost, facts = solve(options.shardc, options.folder / f"asplos-2025-iopddl-{name}.json.gz", limit)
        best = BEST_KNOWN.get(name, cost)
        print(f"| {name} | {limit:g} | {seconds:.1f} | {cost:,} | {best:,} | {100 * (cost - best) / best:+.4f}% | "
              f"{facts['bound']:,} | {100 * facts['gap']:.4f}% |", flush=True)


if __name__ == "__main__":
    main()
