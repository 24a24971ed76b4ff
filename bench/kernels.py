#!/usr/bin/env python3
"""Simple kernels: shardc beside the same in C++, written by hand.

    bench/kernels.py [--shardc build/shardc] [--rounds 5] [--steps 10] [--only copy,gemv] [--core 0]

bench/kernels/NAME.yaml is the model, bench/kernels/hand.cpp the C++, compiled by every compiler that is found. Rounds
go through all contenders in turn, each pinned to one core in a process of its own; a round's figure is the median of
its steps but the first, the table has the median of the rounds. The last column is the faster compiler's time over
shardc's.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNELS = ROOT / "bench" / "kernels"
COMPILERS = ("clang++-19", "g++")
FLAGS = ("-std=c++20", "-O3", "-march=native", "-ffast-math")
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}


def call(core, words):
    pinned = ["taskset", "-c", str(core), *map(str, words)]
    return subprocess.run(pinned, capture_output=True, text=True, check=True, env={**os.environ, **ONE_THREAD}).stdout


def shardc(args, folder, name):
    facts = folder / "facts.json"
    model = KERNELS / f"{name}.yaml"
    call(args.core, [args.shardc, "run", model, "--ranks", 1, "--quiet", "--steps", args.steps + 1, "--json", facts])
    return statistics.median(json.loads(facts.read_text())["step_seconds"][1:])


def hand(args, program, name):
    return statistics.median(json.loads(call(args.core, [program, name, args.steps + 1]))[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shardc", default=str(ROOT / "build" / "shardc"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", default="", help="prefixes of names, with commas")
    parser.add_argument("--core", type=int, default=0)
    args = parser.parse_args()

    compilers = [c for c in COMPILERS if shutil.which(c)]
    names = sorted(p.stem for p in KERNELS.glob("*.yaml"))
    names = [n for n in names if any(n.startswith(prefix) for prefix in args.only.split(","))]
    print(f"| kernel | shardc | {' | '.join(compilers)} | best by hand / shardc |\n|---|{'---|' * (len(compilers) + 2)}")
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        for compiler in compilers:
            subprocess.run(
                [compiler, *FLAGS, KERNELS / "hand.cpp", "-o", folder / compiler, "-lopenblas"], check=True
            )
        for name in names:
            times = {which: [] for which in ("shardc", *compilers)}
            for _ in range(args.rounds):
                times["shardc"].append(shardc(args, folder, name))
                for compiler in compilers:
                    times[compiler].append(hand(args, folder / compiler, name))
            found = {which: statistics.median(of) for which, of in times.items()}
            best = min(found[c] for c in compilers)
            cells = " | ".join(f"{seconds * 1e3:.3g} ms" for seconds in found.values())
            print(f"| {name} | {cells} | {best / found['shardc']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
