#!/usr/bin/env python3
"""Do predictions come true? Runs plans of the example models on this machine and compares.

    bench/truth.py [--shardc build/shardc] [--ranks 1,2,4] [--plans 6] [--steps 40] [--rounds 5] [--csv FILE]

For each number of ranks the machine is calibrated (or --clusters FOLDER has rN.yaml of an earlier run). Then each
model runs under every data x model mesh and under random plans: mesh, and shardings of parameters, drawn from a
seed, and last under the plan that the planner finds without the model's hints. Printed: Spearman's rank correlation of
predicted and measured step times, over all runs and per model, the median error, the worst, whether predicted peak
memory is what the run counted, and how long the planner's choice took over the fastest run of the same model on as
many ranks. Nothing but Python is needed.

A step's time is the lower quartile over the steps: what else the machine does makes steps longer, never shorter. All
plans of a model run in turns, in several rounds, and for the same reason the best round counts.
"""

import argparse
import csv
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

MODELS = ("gpt-tiny", "llama-tiny", "vit-tiny", "mlp", "resnet-tiny", "moe-tiny")
CHOICE = "the planner's choice"
WARM = 4  # steps that do not count
ROOT = pathlib.Path(__file__).resolve().parent.parent


def meshes(ranks):
    return [(data, ranks // data) for data in range(1, ranks + 1) if ranks % data == 0]


def random_sharding(text, axes, rng):
    """A list of as many dimensions as `text` has, each axis on at most one of them."""
    dims = ["_"] * (0 if text == "[]" else text.count(",") + 1)
    for axis in axes:
        place = rng.randrange(len(dims) + 1)
        if place < len(dims) and dims[place] == "_":
            dims[place] = axis
    return "[" + ", ".join(dims) + "]"


def randomize(plan, axes, rng):
    """The plan file's text with other shardings over `axes` for some of its tensors."""
    lines, inside = [], False
    for line in plan.splitlines():
        if not line.startswith(" "):
            inside = line.startswith("tensors:")
        elif inside and '"' not in line and "[[" not in line and rng.random() < 0.5:
            name, text = line.split(": ", 1)
            line = f"{name}: {random_sharding(text, axes, rng)}"
        lines.append(line)
    return "\n".join(lines) + "\n"


class Bench:
    def __init__(self, shardc, folder, steps):
        self.shardc, self.folder, self.steps = shardc, pathlib.Path(folder), steps

    def call(self, *words):
        return subprocess.run([self.shardc, *map(str, words)], capture_output=True, text=True, timeout=600)

    def facts(self, *words):
        path = self.folder / "facts.json"
        done = self.call(*words, "--json", path)
        if done.returncode != 0:
            return None, done.stderr
        return json.loads(path.read_text()), ""

    def cluster(self, ranks, folder):
        path = pathlib.Path(folder or self.folder) / f"r{ranks}.yaml"
        if not path.exists():
            done = self.call("calibrate", "--ranks", ranks, "-o", path)
            if done.returncode != 0:
                sys.exit(done.stderr)
        return path

    def predict(self, path, choice, cluster):
        """What is predicted for one choice of plan, or None where the plan is refused."""
        predicted, _ = self.facts("simulate", path, "--cluster", cluster, *choice)
        if predicted is None:
            return None
        return {
            "predicted": predicted["step_seconds"],
            "communication": predicted["exposed_comm_seconds"],
            "bytes": predicted["peak_bytes_per_device"],
        }

    def measure(self, path, choice, cluster):
        """The lower quartile and the median of a step's seconds, and the peak bytes of the run."""
        measured, error = self.facts("run", path, "--cluster", cluster, "--quiet", "--steps", self.steps, *choice)
        if measured is None:
            sys.exit(error)
        steps = sorted(measured["step_seconds"][WARM:])
        return steps[len(steps) // 4], statistics.median(steps), max(measured["peak_bytes_per_rank"])

    def compare(self, plans, cluster, rounds):
        """Each plan with what was predicted and measured for it, all of them in turns."""
        rows = [(path, choice, {"plan": name, **facts}) for name, path, choice in plans
                if (facts := self.predict(path, choice, cluster)) is not None]
        times = [[self.measure(path, choice, cluster) for path, choice, _ in rows] for _ in range(rounds)]
        for number, (_, _, row) in enumerate(rows):
            own = [one[number] for one in times]
            row["measured"] = min(quartile for quartile, _, _ in own)
            row["median"] = min(middle for _, middle, _ in own)
            row["memory"] = all(peak == row["bytes"] for _, _, peak in own)
        return [row for _, _, row in rows]

    def plans(self, model, ranks, cluster, count):
        """Name, model file and flags of every plan."""
        path = ROOT / "examples" / f"{model}.yaml"
        for data, model_ways in meshes(ranks):
            mesh = f"data={data},model={model_ways}"
            yield mesh, path, ["--mesh", mesh]
        rng = random.Random(f"{model} {ranks}")
        for number in range(count if ranks > 1 else 0):
            data, model_ways = rng.choice(meshes(ranks))
            mesh = f"data={data},model={model_ways}"
            base = self.folder / "base.yaml"
            self.call("plan", path, "--mesh", mesh, "-o", base)
            plan = self.folder / f"plan{number}.yaml"
            axes = [axis for axis, size in (("data", data), ("model", model_ways)) if size > 1]
            plan.write_text(randomize(base.read_text(), axes, rng))
            yield f"random {number} on {mesh}", path, ["--plan", plan]
        bare, plan = self.folder / f"{model}.yaml", self.folder / "choice.yaml"
        bare.write_text(path.read_text().split("\nsharding:")[0] + "\n")
        done = self.call("plan", bare, "--ranks", ranks, "--cluster", cluster, "-o", plan)
        if done.returncode != 0:
            sys.exit(done.stderr)
        yield CHOICE, bare, ["--plan", plan]


def ranks_of(values):
    return [sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values]


def spearman(a, b):
    a, b = ranks_of(a), ranks_of(b)
    mean_a, mean_b = statistics.mean(a), statistics.mean(b)
    cov = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    norm = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return cov / norm**0.5 if norm > 0 else float("nan")


def report(title, rows):
    errors = [abs(r["predicted"] / r["measured"] - 1) for r in rows]
    bias = statistics.median(r["predicted"] / r["measured"] for r in rows)
    rank = spearman([r["predicted"] for r in rows], [r["measured"] for r in rows])
    print(f"{title:<14} {len(rows):4} runs   Spearman {rank:6.3f}   error {100 * statistics.median(errors):5.1f}% median "
          f"{100 * max(errors):6.1f}% worst   predicted/measured {bias:5.2f}   "
          f"memory exact {sum(r['memory'] for r in rows)}/{len(rows)}")


def report_choices(rows):
    print(f"\n{CHOICE} / the fastest run of the same model on as many ranks")
    ratios = []
    for model, ranks in dict.fromkeys((r["model"], r["ranks"]) for r in rows):
        same = [r for r in rows if (r["model"], r["ranks"]) == (model, ranks)]
        choice = [r for r in same if r["plan"] == CHOICE]
        if not choice or len(same) < 3:
            continue
        best = min(same, key=lambda r: r["measured"])
        ratios.append(choice[0]["measured"] / best["measured"])
        print(f"  {model:<12} {ranks} ranks, {len(same):2} runs: {1e3 * choice[0]['measured']:8.3f} / "
              f"{1e3 * best['measured']:8.3f} ms = {ratios[-1]:.3f}   ({best['plan']})")
    if ratios:
        print(f"  within 10%: {sum(r <= 1.1 for r in ratios)} of {len(ratios)}, "
              f"median {statistics.median(ratios):.3f}, worst {max(ratios):.3f}")


def main():
    parser = argparse.ArgumentParser(description="Compares predicted step times with measured ones.")
    parser.add_argument("--shardc", default=str(ROOT / "build" / "shardc"))
    parser.add_argument("--ranks", default="1,2,4", help="comma-separated numbers of ranks")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--plans", type=int, default=6, help="random plans per model and number of ranks")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clusters", help="a folder with rN.yaml, made where they are missing")
    parser.add_argument("--csv", help="write every run to this file")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.shardc, folder, options.steps)
        for ranks in map(int, options.ranks.split(",")):
            cluster = bench.cluster(ranks, options.clusters)
            for model in options.models.split(","):
                plans = bench.plans(model, ranks, cluster, options.plans)
                for row in bench.compare(list(plans), cluster, options.rounds):
                    rows.append({"model": model, "ranks": ranks, **row})
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end\n")
    report("all", rows)
    for ranks in sorted({r["ranks"] for r in rows}):
        report(f"{ranks} ranks", [r for r in rows if r["ranks"] == ranks])
    for model in options.models.split(","):
        report(model, [r for r in rows if r["model"] == model])
    report_choices(rows)
    print("\nworst offenders")
    rows.sort(key=lambda r: -abs(r["predicted"] / r["measured"] - 1))
    for r in rows[:12]:
        print(f"  {r['model']:<12} {r['ranks']} ranks, {r['plan']:<30} measured {1e3 * r['measured']:8.3f} ms (median "
              f"{1e3 * r['median']:8.3f}), predicted {1e3 * r['predicted']:8.3f} ms, of which communication "
              f"{1e3 * r['communication']:.3f}")


if __name__ == "__main__":
    main()
