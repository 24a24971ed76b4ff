#!/usr/bin/env python3
"""Is the plan that the search finds faster than what people write by hand? Both counted by one simulator.

    bench/compare_plans.py [--shardc build/shardc] [--case llama3-8b] [--precision f32,bf16-mixed] [--csv FILE]

Each recipe is written as a user would write it, as a section `sharding` of the model (see examples/recipes): pure
data parallelism; ZeRO-2 and ZeRO-3 everywhere (Rajbhandari et al. 2020); Megatron-LM's pairs of columns and rows
with sequence parallelism (Korthikanti et al. 2022), the vocabulary split too, and its distributed optimizer, with
the tensor degrees of its published settings and all others; and GSPMD's two-dimensional sharding of the dense
Transformer (Xu et al. 2021), on every mesh. Propagation completes them. Each may recompute nothing, `large` or `all`
and takes as few microbatches as fit its memory, and counts as the fastest of these. The plan is what `shardc plan`
finds for the same model without hints. Exit status 1 where a recipe is faster than the plan.
"""
import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = [  # model, cluster, --set, tensor degree that Megatron-LM publishes for so many devices (0: none)
    ("llama3-8b", "h100-8", "B=8", 1),
    ("llama3-8b", "h100-64", "B=64", 1),
    ("llama3-70b", "h100-64", "B=16", 4),
    ("gpt2-124m", "h100-8", "B=64", 1),
    ("mixtral-8x7b", "h100-64", "B=64,G=64", 0),
    ("vit-22b", "tpuv4-4096", "B=4096", 0),
]

# What splits by columns and what by rows, by name of a layer's parameter: the dimension that tensor parallelism
# splits, and the other one that GSPMD splits too. Leading dimensions (layers, experts) do not count.
COLUMNS = {"wq": (1, 0), "wk": (1, 0), "wv": (1, 0), "w1": (1, 0), "gate": (1, 0), "up": (1, 0)}
ROWS = {"wo": (0, 2), "w2": (0, 1), "down": (0, 1)}
BIASES = {"bq": 0, "bk": 0, "bv": 0, "b1": 0}
VOCABULARY = {"wte": 0, "embed": 0, "head": 1, "head_b": 0}


NAMES = ("data parallel", "ZeRO-2", "ZeRO-3", "Megatron-LM as published", "Megatron-LM, best TP",
         "GSPMD 2-D, best mesh")


class Model:
    """A model file, and what recipes ask about it."""

    def __init__(self, name):
        self.text = (ROOT / "examples" / "models" / f"{name}.yaml").read_text()
        layer, top = self.text.split("graph:")[0], self.text.split("blocks:")[0]
        self.dims = {key: int(value) for key, value in re.findall(r"(\w+): (\d+)", re.search(r"dims: {(.*)}", top)[1])}
        find = lambda text: {name: dims.split(", ") for name, dims in
                             re.findall(r"^ +(\w+): +f32\[([\w, ]+)\] =", text, re.M)}
        self.layer, self.top = find(layer.split("blocks:")[1]), find(top)
        self.experts = "moe(" in self.text

    def set(self, dims):
        for key, value in re.findall(r"(\w+)=(\d+)", dims):
            self.dims[key] = int(value)

    def weights(self):  # names of the dimensions that parameters have
        return sorted({dim for dims in [*self.layer.values(), *self.top.values()] for dim in dims} - {"B"})

    def rank(self, name):
        return len(self.layer[name])

    def inputs(self):
        return re.findall(r"^  (\w+): +\w+\[B, S", self.text.split("params:")[0], re.M)

    def with_sections(self, sharding, microbatches, recompute, precision):
        train = f"  microbatches: {microbatches}\n  recompute: {recompute}\n  precision: {precision}\n"
        return self.text.rstrip("\n") + "\n" + train + sharding


def spread(rank, places, lead):
    """'[_, model, _]' from {1: 'model'}; `lead`: the layer dimension that parameters of repeated blocks have."""
    return "[" + ", ".join(["_"] * lead + [places.get(d, "_") for d in range(rank)]) + "]"


def section(mesh, rules, tensors=None, states=None):
    lines = ["sharding:", f"  mesh: {{{', '.join(f'{axis}: {size}' for axis, size in mesh.items())}}}"]
    for key, table in (("rules", rules), ("states", states), ("tensors", tensors)):
        if table:
            lines.append(f"  {key}:")
            lines += [f"    {name}: {where}" for name, where in table.items()]
    return "\n".join(lines) + "\n"


def data_parallel(model, devices):
    return section({"data": devices}, {"B": "data"})


def zero2(model, devices):
    return section({"data": devices}, {"B": "data"}, states={dim: "data" for dim in model.weights()})


def zero3(model, devices):
    return section({"data": devices}, {"B": "data", **{dim: "data p1" for dim in model.weights()}})


def megatron(model, devices, ways):
    """Tensor and sequence parallelism over `ways`, experts' layers alike; states over the rest."""
    if ways == 1:
        return zero2(model, devices)
    tensors = {}
    for table in (COLUMNS, ROWS):
        for name, (dim, _) in table.items():
            if name in model.layer:
                shift = 1 if model.layer[name][0] == "X" else 0
                tensors[f"layer.{name}"] = spread(model.rank(name), {dim + shift: "model"}, 1)
    for name, dim in BIASES.items():
        if name in model.layer:
            tensors[f"layer.{name}"] = spread(model.rank(name), {dim: "model"}, 1)
    for name, dim in VOCABULARY.items():
        if name in model.top:
            tensors[name] = spread(len(model.top[name]), {dim: "model"}, 0)
    tensors["x0"] = "[data, model, _]"
    states = {dim: "data" for dim in model.weights()}
    return section({"data": devices // ways, "model": ways}, {"B": "data"}, tensors, states)


def gspmd(model, devices, ways):
    tensors = {}
    for table in (COLUMNS, ROWS):
        for name, (dim, other) in table.items():
            if name in model.layer:
                shift = 1 if model.layer[name][0] == "X" else 0
                tensors[f"layer.{name}"] = spread(model.rank(name), {dim + shift: "s1", other + shift: "s0"}, 1)
    for name, dim in VOCABULARY.items():
        if name in model.top and len(model.top[name]) == 2:
            tensors[name] = spread(2, {dim: "s1", 1 - dim: "s0"}, 0)
    tensors["x0"] = "[s0, _, s1]"
    return section({"s0": devices // ways, "s1": ways}, {"B": "s0"}, tensors)


def recipes(model, devices, published):
    """(name, sections to try) of each."""
    ways = [w for w in (1, 2, 4, 8, 16, 32, 64) if w <= devices and devices % w == 0]
    yield "data parallel", [data_parallel(model, devices)]
    yield "ZeRO-2", [zero2(model, devices)]
    yield "ZeRO-3", [zero3(model, devices)]
    if published:
        yield "Megatron-LM as published", [megatron(model, devices, published)]
    yield "Megatron-LM, best TP", [megatron(model, devices, w) for w in ways]
    yield "GSPMD 2-D, best mesh", [gspmd(model, devices, w) for w in ways if w > 1]


class Bench:
    def __init__(self, shardc, folder):
        self.shardc, self.folder = shardc, Path(folder)
        self.seen = {}

    def facts(self, command, text, cluster, dims):
        model, facts = self.folder / "model.yaml", self.folder / "facts.json"
        model.write_text(text)
        done = subprocess.run([self.shardc, command, str(model), "--cluster",
                               str(ROOT / "examples" / "clusters" / f"{cluster}.yaml"), "--set", dims, "--json",
                               str(facts)], capture_output=True, text=True, timeout=900)
        if done.returncode == 1:
            return None
        if done.returncode != 0:
            sys.exit(f"{done.stderr}\nof the model\n{text}")
        return json.loads(facts.read_text())

    def simulated(self, text, cluster, dims):
        key = (text, cluster, dims)
        if key not in self.seen:
            self.seen[key] = self.facts("simulate", text, cluster, dims)
        return self.seen[key]

    def fastest(self, model, sections, cluster, dims, precision, memory):
        """(facts, microbatches, recompute) of the fastest that fits, and the least memory that any needs."""
        best, least = None, None
        for text in sections:
            for recompute in ("none", "large", "all"):
                count = 1
                while model.dims["B"] % count == 0:
                    facts = self.simulated(model.with_sections(text, count, recompute, precision), cluster, dims)
                    need = facts["peak_bytes_per_device"]
                    least = need if least is None else min(least, need)
                    if best is not None and facts["step_seconds"] >= best[0]["step_seconds"]:
                        break  # more microbatches take longer
                    if need <= memory:
                        best = (facts, count, recompute)
                        break
                    count *= 2
        return best, least


def cluster_facts(name):
    text = (ROOT / "examples" / "clusters" / f"{name}.yaml").read_text()
    devices = 1
    for size in re.findall(r"size: (\d+)", text.split("topology:")[1]):
        devices *= int(size)
    size, unit = re.search(r"^  memory: ([\d.]+)(\w+)", text, re.M).groups()
    return devices, float(size) * {"GB": 1e9, "GiB": 2**30}[unit]


def mesh_of(facts):
    return " x ".join(map(str, facts["mesh"].values()))


def compare(bench, case, precision):
    """A row of the table printed, and the rows of the CSV file."""
    name, cluster, dims, published = case
    devices, memory = cluster_facts(cluster)
    model = Model(name)
    model.set(dims)
    found = bench.facts("plan", model.with_sections("", 1, "none", precision), cluster, dims)
    same = {"model": name, "cluster": cluster, "dims": dims, "precision": precision}
    rows = [{**same, "recipe": "found", "mesh": mesh_of(found), "microbatches": "", "recompute": "", "slower": None,
             "step": found["step_seconds"], "bytes": found["peak_bytes_per_device"]}]
    cells = {}
    for recipe, sections in recipes(model, devices, published):
        best, least = bench.fastest(model, sections, cluster, dims, precision, memory)
        row = {**same, "recipe": recipe, "mesh": "", "microbatches": "", "recompute": "", "slower": None, "step": None,
               "bytes": least}
        if best is None:
            cells[recipe] = f"needs {least / 1e9:.0f} GB"
        else:
            facts, count, recompute = best
            slower = facts["step_seconds"] / found["step_seconds"] - 1
            row.update(mesh=mesh_of(facts), microbatches=count, recompute=recompute, slower=slower,
                       step=facts["step_seconds"], bytes=facts["peak_bytes_per_device"])
            cells[recipe] = f"{100 * slower:+.{1 if slower < 0.1 else 0}f}%, {row['mesh']}"
        rows.append(row)
    print(f"| {name} {dims}, {cluster} | {precision} | {found['step_seconds']:.4g} s, {mesh_of(found)} | " +
          " | ".join(cells.get(recipe, "") for recipe in NAMES) + " |", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description="Compares found plans with recipes.")
    parser.add_argument("--shardc", default=str(ROOT / "build" / "shardc"))
    parser.add_argument("--case", help="only models whose name holds this")
    parser.add_argument("--precision", default="f32,bf16-mixed")
    parser.add_argument("--csv", help="write every row to this file")
    options = parser.parse_args()
    rows, beaten = [], 0
    print("| model, cluster | precision | found plan | " + " | ".join(NAMES) + " |")
    print("|" + "---|" * (3 + len(NAMES)))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.shardc, folder)
        for case in CASES:
            if options.case and options.case not in case[0]:
                continue
            for precision in options.precision.split(","):
                of_case = compare(bench, case, precision)
                rows += of_case
                beaten += sum(r["slower"] is not None and r["slower"] < -1e-6 for r in of_case)
    if options.csv:
        with open(options.csv, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    if beaten:
        sys.exit(f"{beaten} recipes are faster than the plan that was found")


if __name__ == "__main__":
    main()
