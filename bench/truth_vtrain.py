#!/usr/bin/env python3
"""Do shardc's prices rank parallel configurations as a real machine does?

    bench/truth_vtrain.py FOLDER [--shardc build/shardc]

FOLDER holds the measurements published with vTrain (github.com/VIA-Research/vTrain, MIT):
`ground_truth_single.csv`, 1,440 training iterations of GPT models on up to eight A100 under tensor (t), data (d) and
pipeline (p) parallelism, and `a100_allreduce_{2,8}gpu_lut.txt`, times of all-reduces. Needs NumPy.

What a stage does is shardc's: a GPT model in mixed precision with Megatron-LM's hints, its program on the mesh
d x t, and the prices of docs/machine.md. `shardc simulate` gives, once for each model, microbatch, t and d, the nodes
of the program with their work; the constants of a cluster file are fitted to iteration times with the same formulas
here, and at the end `shardc simulate` prices all programs anew with the cluster file that was found. How much the two
differ is printed.

Pipelines are not shardc's: for m microbatches on p stages, the last of which has the head,

    step = (m - 1) * (last + send) + (p - 1) * (stage + send) + last + gradients' all-reduce + optimizer

Six constants are fitted. Two to the measured all-reduces: start and wire. Three of the cluster file to iterations:
efficiency, memory's bandwidth, and dispatch, the host's time for a kernel. (A ramp of products makes no difference
beside dispatch.) And one of the pipeline: send, of activations or their gradients to the next stage. A group is one
model, global batch and number of devices; a model's *regret* in a group is the time of the configuration that it would
choose over the best one's, less 1.
"""

import argparse
import collections
import csv
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
LATENCY = 2e-6  # of a message, as in examples/clusters/a100-8.yaml
NAMES = ("efficiency", "bandwidth", "dispatch", "send")
START = np.log([0.7, 1e12, 10e-6, 1e-4])

# GPT-2's layers with Megatron-LM's vocabulary, padded, and its way to split them.
MODEL = """model: gpt
dims: {{B: {batch}, S: {length}, V: 51200, E: {hidden}, H: {heads}, D: {head}, F: {inner}, L: {layers}}}
inputs:
  tokens:  i32[B, S] < V
  targets: i32[B, S] < V
params:
  wte:   f32[V, E] = normal(0.02)
  wpe:   f32[S, E] = normal(0.02)
  lnf_g: f32[E] = ones()
  lnf_b: f32[E] = zeros()
blocks:
  layer(x):
    params:
      ln1_g: f32[E] = ones()
      ln1_b: f32[E] = zeros()
      wq: f32[E, H, D] = normal(0.02)
      bq: f32[H, D] = zeros()
      wk: f32[E, H, D] = normal(0.02)
      bk: f32[H, D] = zeros()
      wv: f32[E, H, D] = normal(0.02)
      bv: f32[H, D] = zeros()
      wo: f32[H, D, E] = normal(0.02)
      bo: f32[E] = zeros()
      ln2_g: f32[E] = ones()
      ln2_b: f32[E] = zeros()
      w1: f32[E, F] = normal(0.02)
      b1: f32[F] = zeros()
      w2: f32[F, E] = normal(0.02)
      b2: f32[E] = zeros()
    graph:
      - h:  layer_norm(x, ln1_g, ln1_b)
      - q:  einsum("bse,ehd->bshd", h, wq) + bq
      - k:  einsum("bse,ehd->bshd", h, wk) + bk
      - v:  einsum("bse,ehd->bshd", h, wv) + bv
      - a:  attention(q, k, v, causal=true)
      - x1: x + einsum("bshd,hde->bse", a, wo) + bo
      - h2: layer_norm(x1, ln2_g, ln2_b)
      - m:  gelu(linear(h2, w1, b1))
      - x2: x1 + linear(m, w2, b2)
    returns: x2
graph:
  - x0:     take(wte, tokens) + wpe
  - xl:     repeat(layer, x0, times=L)
  - xf:     layer_norm(xl, lnf_g, lnf_b)
  - logits: einsum("bse,ve->bsv", xf, wte)
  - loss:   cross_entropy(logits, targets)
outputs: [loss]
train: {{loss: loss, precision: bf16-mixed, optimizer: adam(lr=1e-4)}}
sharding:
  mesh: {{data: {d}, model: {t}}}
  rules: {{B: data}}
  alike: [[layer.wq, layer.wk, layer.wv]]
  tensors:
    wte: [model, _]
    layer.wq: [_, _, model, _]
    layer.w1: [_, _, model]
"""
CLUSTER = """cluster: a100
device: {{name: A100, memory: 80GB, bandwidth: {bandwidth:.0f}B/s, flops: {{f32: 19.5e12, bf16: 312e12}},
         efficiency: {efficiency}, launch: 0s, dispatch: {dispatch}s}}
topology:
  - {{name: nvlink, size: 8, bandwidth: {wire:.0f}B/s, latency: {latency}s, start: {start}s}}
"""

Runs = collections.namedtuple("Runs", "devices batch micro hidden heads layers length t d p seconds")
Network = collections.namedtuple("Network", "start wire")
# Of the program of one layer, its head and its embedding, per node in order: is it a collective or a product, seconds
# of work at full speed, bytes, ranks of a collective; does it belong to the layer; is it done once for all
# microbatches, as the optimizer and what all-reduces gradients?
Nodes = collections.namedtuple("Nodes", "collective work bytes ways layer once")


def read_runs(path):
    with open(path, encoding="utf-8-sig") as file:
        rows = [[float(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    columns = np.array(rows).T
    columns[-1] /= 1e3
    return Runs(*columns)


def fit_network(folder):
    """(start, wire) and the mean error: least squares of relative errors, all octaves of sizes alike."""
    rows, weights, right = [], [], []
    for n in (2, 8):
        with open(folder / f"a100_allreduce_{n}gpu_lut.txt", encoding="utf-8-sig") as file:
            for row in list(csv.reader(file))[1:]:
                size, seconds = float(row[0]), float(row[3]) * 1e-9
                rows.append([1 / seconds, 2 * (n - 1) / n * size / seconds])
                right.append(1 - 2 * (n - 1) * LATENCY / seconds)
                weights.append(1 / size)  # sizes are multiples of 1 MiB
    rows, right, weights = np.array(rows), np.array(right), np.array(weights)
    solution, *_ = np.linalg.lstsq(rows * np.sqrt(weights)[:, None], right * np.sqrt(weights), rcond=None)
    return Network(solution[0], 1 / solution[1]), np.average(np.abs(rows @ solution - right), weights=weights)


def all_reduce(network, n, size):
    ring = 2 * (n - 1) * (LATENCY + size / n / network.wire)
    return network.start + min(ring, np.log2(n) * (LATENCY + size / network.wire))


class Programs:
    """What shardc makes of each model: its nodes, or its seconds on a cluster."""

    def __init__(self, shardc, folder):
        self.shardc, self.folder = shardc, pathlib.Path(folder)

    def simulate(self, key, layers, d, cluster, *more):
        hidden, heads, length, micro, t = key
        text = MODEL.format(batch=micro * d, length=length, hidden=hidden, heads=heads, head=hidden // heads,
                            inner=4 * hidden, layers=layers, d=d, t=t)
        (self.folder / "model.yaml").write_text(text)
        (self.folder / "cluster.yaml").write_text(cluster)
        done = subprocess.run([self.shardc, "simulate", self.folder / "model.yaml", "--cluster",
                               self.folder / "cluster.yaml", "--json", self.folder / "facts.json", *more],
                              capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            sys.exit(done.stderr)

    def seconds(self, key, layers, d, cluster):
        self.simulate(key, layers, d, cluster)
        return json.loads((self.folder / "facts.json").read_text())["step_seconds"]

    def nodes(self, key, layers, d):
        """At full speed and with a memory that takes no time, so that seconds are those of the work alone."""
        fast = CLUSTER.format(bandwidth=1e21, efficiency=1, dispatch=0, wire=1e21, latency=0, start=0)
        self.simulate(key, layers, d, fast, "--trace", self.folder / "trace.json")
        events = json.loads((self.folder / "trace.json").read_text())["traceEvents"]
        return [e for e in events if e["ph"] == "X"]


def nodes_of(events, alone, t, d):
    """`alone`: names of the collectives of the same program with d = 1: the others are of gradients."""
    columns = []
    for e in events:
        collective = e["tid"] == 1
        of_data = collective and (e["name"], e["cat"]) not in alone
        columns.append((collective, 0 if collective else e["dur"] * 1e-6, e["args"]["bytes"], d if of_data else t,
                        e["name"].startswith(("layer.", "dlayer.")), of_data or ".next" in e["name"]))
    return Nodes(*(np.array(column) for column in zip(*columns)))


# A device that runs kernels, and the host that hands them out ahead of it: the times at which each is ready. A kernel,
# and so every sequence of kernels, is a linear map of the two in (max, +): ((a, b), (c, d)) takes (x, y) to
# (max(a + x, b + y), max(c + x, d + y)). So repeating a layer, or a microbatch, is taking a power.
NEVER = -np.inf
NOTHING = ((0.0, NEVER), (NEVER, 0.0))


def then(first, second):
    (a, b), (c, d) = first
    (e, f), (g, h) = second
    return (max(e + a, f + c), max(e + b, f + d)), (max(g + a, h + c), max(g + b, h + d))


def repeated(steps, times):
    result = NOTHING
    while times:
        if times & 1:
            result = then(result, steps)
        steps, times = then(steps, steps), times >> 1
    return result


def map_of(nodes, which, seconds, dispatch):
    """Of the nodes `which`, one after another, as planner/simulate.cpp runs them in line."""
    (a, b), (c, d) = NOTHING
    for seconds_of, collective in zip(seconds[which].tolist(), nodes.collective[which].tolist()):
        a, b = max(a, c) + seconds_of, max(b, d) + seconds_of
        c, d = (a, b) if collective else (c + dispatch, d + dispatch)
    return (a, b), (c, d)


class Priced:
    """A program by the formulas of docs/machine.md: maps of its runs of nodes in a layer and outside of it, in order,
    and the seconds of what is done once, of a layer and of the ends."""

    def __init__(self, nodes, constants, network):
        efficiency, bandwidth, dispatch, _ = constants
        reduce = [all_reduce(network, n, size) if of else 0
                  for of, n, size in zip(nodes.collective, nodes.ways, nodes.bytes)]
        seconds = np.where(nodes.collective, reduce, np.maximum(nodes.work / efficiency, nodes.bytes / bandwidth))
        every = np.flatnonzero(~nodes.once)
        cuts = np.flatnonzero(np.diff(nodes.layer[every].astype(int))) + 1
        self.runs = [(bool(nodes.layer[run[0]]), map_of(nodes, run, seconds, dispatch))
                     for run in np.split(every, cuts)]
        # An optimizer's kernels take all layers at a time: the host is ahead of them.
        self.layer_once = seconds[nodes.once & nodes.layer].sum()
        self.ends_once = seconds[nodes.once & ~nodes.layer].sum()
        self.known = {}

    def microbatches(self, layers, ends, times):
        if (layers, ends) not in self.known:
            one = NOTHING
            for of_layer, steps in self.runs:
                if of_layer or ends:
                    one = then(one, repeated(steps, layers if of_layer else 1))
            self.known[layers, ends] = one
        return max(repeated(self.known[layers, ends], times)[0])

    def once(self, layers):
        return layers * self.layer_once + self.ends_once


def keys_of(r):
    return [tuple(int(x) for x in key) for key in zip(r.hidden, r.heads, r.length, r.micro, r.t)]


def collect(programs, r):
    """Nodes by (key, d)."""
    table = {}
    for key, d in sorted(set(zip(keys_of(r), r.d.astype(int)))):
        alone = {(e["name"], e["cat"]) for e in programs.nodes(key, 1, 1) if e["tid"] == 1}
        events = programs.nodes(key, 1, d)
        others = {e["cat"] for e in events if e["tid"] == 1} - {"all_reduce"}
        if others:
            sys.exit(f"{key} on {d} copies: {others} where Megatron-LM has all-reduces alone")
        table[key, d] = nodes_of(events, alone, key[-1], d)
    return table


def predict(constants, r, table, network):
    """Seconds per iteration of every run."""
    made = {at: Priced(nodes, constants, network) for at, nodes in table.items()}
    known = {}
    for run in set(zip(keys_of(r), *(column.astype(int) for column in (r.d, r.p, r.layers, r.batch)))):
        key, d, p, layers, batch = run
        program, times = made[key, d], batch // (d * key[3])
        last = program.microbatches(layers // p, True, times)
        stage = program.microbatches(layers // p, False, times) if p > 1 else 0
        sent = 2 * constants[3] if p > 1 else 0
        known[run] = (last + (times - 1) * sent + (p - 1) * (stage / times + sent) + program.once(layers // p))
    return np.array([known[run] for run in
                     zip(keys_of(r), *(column.astype(int) for column in (r.d, r.p, r.layers, r.batch)))])


def fit(r, table, network, rounds=40):
    """Levenberg-Marquardt on logarithms of constants and of times, errors above 10% weighed down (Huber)."""
    error = lambda z: np.log(predict(np.exp(z), r, table, network) / r.seconds)
    loss = lambda e: np.where(np.abs(e) < 0.1, e * e, 0.2 * np.abs(e) - 0.01).sum()
    z, damping = START.copy(), 1e-2
    here = error(z)
    for _ in range(rounds):
        slopes = np.stack([(error(z + 1e-4 * unit) - here) / 1e-4 for unit in np.eye(len(z))], axis=1)
        weight = np.minimum(1, 0.1 / np.maximum(np.abs(here), 1e-12))
        normal = (slopes.T * weight) @ slopes
        move = np.linalg.solve(normal + damping * np.eye(len(z)), (slopes.T * weight) @ here)
        there = error(z - np.clip(move, -1, 1))
        if loss(there) < loss(here):
            done = loss(here) - loss(there) < 1e-6 * loss(here)
            z, here, damping = z - np.clip(move, -1, 1), there, damping / 3
            if done:
                break
        else:
            damping *= 4
    return np.exp(z)


def take(r, mask):
    return Runs(*(column[mask] for column in r))


def spearman(a, b):
    rank = lambda x: np.array([(x < v).sum() + ((x == v).sum() - 1) / 2 for v in x])  # ties share their ranks
    a, b = rank(a), rank(b)
    return np.corrcoef(a, b)[0, 1] if a.std() > 0 and b.std() > 0 else 0.0


def judge(r, predicted):
    """(mean relative error, Spearman of each group, regret of each group); groups of fewer than 3 do not count."""
    groups = collections.defaultdict(list)
    for i, key in enumerate(zip(r.devices, r.batch, r.hidden, r.layers)):
        groups[key].append(i)
    correlations, regrets = [], []
    for members in groups.values():
        if len(members) < 3:
            continue
        real, guess = r.seconds[members], predicted[members]
        correlations.append(spearman(guess, real))
        regrets.append(real[np.argmin(guess)] / real.min() - 1)
    return np.abs(predicted / r.seconds - 1).mean(), np.array(correlations), np.array(regrets)


def line(title, verdict):
    error, correlations, regrets = verdict
    quantile = lambda q: 100 * np.quantile(regrets, q)
    return (f"{title:<26} {100 * error:5.1f}  {correlations.mean():5.3f} {np.median(correlations):5.3f} "
            f"{correlations.min():6.3f}  {quantile(.5):5.1f} {100 * regrets.mean():5.1f} {quantile(.9):5.1f} "
            f"{quantile(1):5.1f}  {100 * (regrets == 0).mean():4.0f}")


HEADER = (f"{'':<26} {'err%':>5}  {'rank correlation':^18}  {'regret %':^23}  best\n"
          f"{'':<26} {'mean':>5}  {'mean':>5} {'med':>5} {'min':>6}  "
          f"{'med':>5} {'mean':>5} {'p90':>5} {'max':>5}  {'%':>4}")


def cross_validate(r, table, network):
    """Fits on each half of the models and judges on the other; all verdicts together, and the constants."""
    models = sorted(set(zip(r.hidden, r.layers)))
    of = np.array([models.index(key) for key in zip(r.hidden, r.layers)])
    errors, correlations, regrets, constants = [], [], [], []
    for half in itertools.combinations(range(len(models)), len(models) // 2):
        seen = np.isin(of, half)
        fitted = fit(take(r, seen), table, network, rounds=8)
        unseen = take(r, ~seen)
        error, group_correlations, group_regrets = judge(unseen, predict(fitted, unseen, table, network))
        errors.append(error)
        correlations.append(group_correlations)
        regrets.append(group_regrets)
        constants.append(fitted)
    return (np.mean(errors), np.concatenate(correlations), np.concatenate(regrets)), np.array(constants)


def main():
    parser = argparse.ArgumentParser(description="Fits a cluster file to vTrain's measurements and judges its choices.")
    parser.add_argument("folder", type=pathlib.Path, help="with ground_truth_single.csv and the all-reduce tables")
    parser.add_argument("--shardc", default=str(ROOT / "build" / "shardc"))
    parser.add_argument("--quick", action="store_true", help="no cross-validation")
    options = parser.parse_args()
    runs = read_runs(options.folder / "ground_truth_single.csv")
    network, network_error = fit_network(options.folder)
    with tempfile.TemporaryDirectory() as folder:
        programs = Programs(options.shardc, folder)
        table = collect(programs, runs)
        constants = fit(runs, table, network)
        cluster = CLUSTER.format(bandwidth=constants[1], efficiency=constants[0], dispatch=constants[2],
                                 wire=network.wire, latency=LATENCY, start=network.start)
        print(f"{cluster}\nsend: {constants[3]:.3g} s; all-reduces: mean error {100 * network_error:.1f}%\n")
        apart = []
        for (key, d), nodes in table.items():
            program = Priced(nodes, constants, network)
            apart += [(program.microbatches(depth, True, 1) + program.once(depth)) /
                      programs.seconds(key, depth, d, cluster) - 1 for depth in (12, 24)]
        print(f"{len(apart)} programs of 12 and 24 layers, priced here and by shardc simulate: "
              f"{100 * np.median(np.abs(apart)):.2g}% apart in the median, {100 * np.abs(apart).max():.2g}% at most\n")
    predicted = predict(constants, runs, table, network)
    print(HEADER)
    print(line("all", judge(runs, predicted)))
    flat = runs.p == 1
    print(line("without pipelines", judge(take(runs, flat), predicted[flat])))
    for name in ("t", "d", "p", "micro", "hidden"):
        for value in np.unique(getattr(runs, name)):
            some = getattr(runs, name) == value
            ratio = predicted[some] / runs.seconds[some]
            print(f"  {name} = {value:<6.0f} {some.sum():5d} runs: error {100 * np.abs(ratio - 1).mean():5.1f}%, "
                  f"bias {100 * np.log(ratio).mean():+5.1f}%")
    if options.quick:
        return
    verdict, found = cross_validate(runs, table, network)
    print(f"\nfitted on half of the models, judged on the other half, {len(found)} ways:\n" + HEADER)
    print(line("unseen models", verdict))
    print("constants from .. to: " + ", ".join(
        f"{name} {low:.3g}..{high:.3g}" for name, low, high in zip(NAMES, found.min(axis=0), found.max(axis=0))))


if __name__ == "__main__":
    main()
