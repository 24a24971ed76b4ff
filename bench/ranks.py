#!/usr/bin/env python3
"""How much faster two ranks on two cores are than one rank on one.

    bench/ranks.py [--shardc build/shardc] [--model examples/gpt2-small.yaml] [--rounds 5] [--steps 4] [--core 1]

A round runs the model with one rank, pinned to a core, then with two ranks as threads: data-parallel (on the mesh
data=2), then as planned for two ranks. A figure is the median of the steps but the first, a ratio that of two
neighbours; the last line has the medians of the rounds' ratios.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHOICES = {"data=2": ["--mesh", "data=2"], "as planned": ["--ranks", "2"]}


def step_seconds(args, facts, choice, before=()):
    words = [*before, args.shardc, "run", args.model, *choice, "--quiet", "--steps", args.steps + 1, "--json", facts]
    subprocess.run([str(word) for word in words], stderr=subprocess.DEVNULL, check=True)
    return statistics.median(json.loads(facts.read_text())["step_seconds"][1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shardc", default=ROOT / "build" / "shardc")
    parser.add_argument("--model", default=ROOT / "examples" / "gpt2-small.yaml")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--core", type=int, default=1, help="where the one rank runs")
    args = parser.parse_args()
    print("| one rank s | " + " | ".join(f"{name} s | ratio" for name in CHOICES) + " |")
    print("|---" * (1 + 2 * len(CHOICES)) + "|", flush=True)
    ratios = {name: [] for name in CHOICES}
    with tempfile.TemporaryDirectory() as folder:
        facts = pathlib.Path(folder) / "facts.json"
        for _ in range(args.rounds):
            one = step_seconds(args, facts, ["--ranks", "1"], ["taskset", "-c", args.core])
            row = f"| {one:.3f} |"
            for name, choice in CHOICES.items():
                two = step_seconds(args, facts, choice)
                ratios[name].append(one / two)
                row += f" {two:.3f} | {one / two:.2f} |"
            print(row, flush=True)
    print("| median |" + "".join(f" | {statistics.median(ratios[name]):.2f} |" for name in CHOICES))


if __name__ == "__main__":
    main()
