#!/usr/bin/env python3
"""How simple may a cost model be and still rank parallel configurations as a real machine does?

    bench/truth_vtrain.py FOLDER

FOLDER holds the measurements published with vTrain (github.com/VIA-Research/vTrain, MIT):
`ground_truth_single.csv`, 1,440 training iterations of GPT models on up to eight A100 under tensor (t), data (d) and
pipeline (p) parallelism, and `a100_allreduce_{2,8}gpu_lut.txt`, times of all-reduces. Needs NumPy.

The model, per microbatch of one pipeline stage and for forward and backward together:

    compute    = max(sum of rooflines, kernels * launch)        the host that launches may be the slower one
    roofline   = (w + w_half) / (e_max * peak) for a product of w flops, that is an efficiency of
                 e_max * w / (w + w_half); bytes / bandwidth for everything else
    stage      = compute + all-reduces, which wait for the host and so add to it
    step       = (m - 1) * slowest stage + sum of stages + transfers + gradients' all-reduce + optimizer
    all-reduce = start + 2 (n - 1) (latency + bytes / n / wire)    a ring's steps; fitted to its own measurements

Five constants are fitted to iteration times: e_max, w_half, bandwidth, launch and the time of a transfer between
stages. A group is one model, global batch and number of devices; a model's *regret* in a group is the time of the
configuration that it would choose over the best one's, less 1.
"""

import argparse
import collections
import csv
import itertools
import pathlib

import numpy as np

PEAK = 312e12  # f16 products of an A100, flops per second (NVIDIA's datasheet)
VOCABULARY = 51200  # GPT-2's, padded as Megatron-LM does
NAMES = ("e_max", "w_half", "bandwidth", "launch", "transfer")
START = np.log([0.7, 1e9, 1e12, 50e-6, 1e-4])

# Of one transformer layer, forward and backward, as Megatron-LM ran it (no fused attention): kernels; elements that
# kernels other than products read and write, in units of tokens * hidden. Two layer norms, two times bias, dropout
# and residual are on every tensor rank; GELU, biases and transposes are divided by t; and so are softmax and dropout
# of the scores, whose elements are tokens * heads * sequence.
KERNELS = 50
REPLICATED, DIVIDED, SCORES = 34, 43, 10
LOSS_BYTES = 30  # of softmax and cross entropy per logit, mostly in f32
OPTIMIZER_BYTES = 30  # per parameter: Adam with f32 master weights and f16 gradients

Runs = collections.namedtuple("Runs", "devices batch micro hidden heads layers length t d p seconds")


def read_runs(path):
    with open(path, encoding="utf-8-sig") as file:
        rows = [[float(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    columns = np.array(rows).T
    columns[-1] /= 1e3
    return Runs(*columns)


def fit_all_reduce(folder):
    """((start, latency, 1/wire), mean error), by least squares of relative errors, all octaves of sizes alike."""
    rows, weights = [], []
    for n in (2, 8):
        with open(folder / f"a100_allreduce_{n}gpu_lut.txt", encoding="utf-8-sig") as file:
            for row in list(csv.reader(file))[1:]:
                size, seconds = float(row[0]), float(row[3]) * 1e-9
                rows.append([1 / seconds, 2 * (n - 1) / seconds, 2 * (n - 1) / n * size / seconds])
                weights.append(1 / size)  # sizes are multiples of 1 MiB
    rows, weights = np.array(rows), np.array(weights)
    solution, *_ = np.linalg.lstsq(rows * np.sqrt(weights)[:, None], np.sqrt(weights), rcond=None)
    return solution, np.average(np.abs(rows @ solution - 1), weights=weights)


def all_reduce(ring, n, size):
    start, latency, per_byte = ring
    return np.where(n > 1, start + 2 * (n - 1) * (latency + size / n * per_byte), 0)


def predict(constants, r, ring, rule="full"):
    """Seconds per iteration of every run; `rule` leaves something out, see ABLATIONS."""
    e_max, w_half, bandwidth, launch, transfer = constants
    if rule == "no saturation":
        w_half = 0
    if rule == "no launch":
        launch = 0
    tokens = r.micro * r.length
    width = tokens * r.hidden
    product = lambda flops: 3 * (flops + w_half) / (e_max * PEAK)  # forward, and the gradients of both factors
    layer_flops = [6 * width * r.hidden, 2 * width * r.length, 2 * width * r.length, 2 * width * r.hidden,
                   8 * width * r.hidden, 8 * width * r.hidden]
    elements = REPLICATED * width + (DIVIDED * width + SCORES * tokens * r.heads * r.length) / r.t
    elementwise = 0 if rule == "no bytes" else 2 * elements / bandwidth
    device = sum(product(flops / r.t) for flops in layer_flops) + elementwise
    reduce = 4 * all_reduce(ring, r.t, 2 * width) if rule != "no collectives" else 0
    if rule == "sum":
        layer = device + KERNELS * launch + reduce
    elif rule == "host overlaps":
        layer = np.maximum(device + reduce, KERNELS * launch)
    else:
        layer = np.maximum(device, KERNELS * launch) + reduce
    logits = tokens * VOCABULARY / r.t
    head = product(2 * logits * r.hidden) + LOSS_BYTES * logits / bandwidth
    stage = r.layers / r.p * layer
    last = stage + head
    send = np.where(r.p > 1, 2 * transfer, 0)
    microbatches = r.batch / (r.d * r.micro)
    pipeline = (microbatches - 1) * (last + send) + (r.p - 1) * (stage + send) + last
    if rule == "no bubble":
        pipeline = microbatches * (last + send)
    parameters = (12 * r.hidden**2 * r.layers / r.p + VOCABULARY * r.hidden) / r.t
    gradients = all_reduce(ring, r.d, 2 * parameters) if rule != "no collectives" else 0
    return pipeline + gradients + OPTIMIZER_BYTES * parameters / bandwidth


ABLATIONS = ("full", "sum", "host overlaps", "no saturation", "no launch", "no bytes", "no collectives", "no bubble")


def fit(r, ring, rule="full", rounds=60):
    """Levenberg-Marquardt on logarithms of constants and of times, errors above 10% weighed down (Huber)."""
    error = lambda z: np.log(predict(np.exp(z), r, ring, rule) / r.seconds)
    loss = lambda e: np.where(np.abs(e) < 0.1, e * e, 0.2 * np.abs(e) - 0.01).sum()
    z, damping = START.copy(), 1e-2
    here = error(z)
    for _ in range(rounds):
        slopes = np.stack([(error(z + 1e-5 * unit) - here) / 1e-5 for unit in np.eye(len(z))], axis=1)
        weight = np.minimum(1, 0.1 / np.maximum(np.abs(here), 1e-12))
        normal = (slopes.T * weight) @ slopes
        move = np.linalg.solve(normal + damping * np.eye(len(z)), (slopes.T * weight) @ here)
        there = error(z - np.clip(move, -1, 1))
        if loss(there) < loss(here):
            z, here, damping = z - np.clip(move, -1, 1), there, damping / 3
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


def cross_validate(r, ring):
    """Fits on each half of the models and judges on the other; all verdicts together, and the constants."""
    models = sorted(set(zip(r.hidden, r.layers)))
    of = np.array([models.index(key) for key in zip(r.hidden, r.layers)])
    errors, correlations, regrets, constants = [], [], [], []
    for half in itertools.combinations(range(len(models)), len(models) // 2):
        seen = np.isin(of, half)
        fitted = fit(take(r, seen), ring, rounds=30)
        unseen = take(r, ~seen)
        error, group_correlations, group_regrets = judge(unseen, predict(fitted, unseen, ring))
        errors.append(error)
        correlations.append(group_correlations)
        regrets.append(group_regrets)
        constants.append(fitted)
    return (np.mean(errors), np.concatenate(correlations), np.concatenate(regrets)), np.array(constants)


def main():
    parser = argparse.ArgumentParser(description="Fits a cost model to vTrain's measurements and judges its choices.")
    parser.add_argument("folder", type=pathlib.Path, help="with ground_truth_single.csv and the all-reduce tables")
    folder = parser.parse_args().folder
    runs = read_runs(folder / "ground_truth_single.csv")
    ring, ring_error = fit_all_reduce(folder)
    print(f"all-reduce: start {1e6 * ring[0]:.1f} us, latency {1e6 * ring[1]:.2f} us per step, "
          f"wire {1e-9 / ring[2]:.0f} GB/s; mean error {100 * ring_error:.1f}%\n")

    constants = fit(runs, ring)
    predicted = predict(constants, runs, ring)
    print("constants: " + ", ".join(f"{name} {value:.4g}" for name, value in zip(NAMES, constants)) + "\n")
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

    verdict, found = cross_validate(runs, ring)
    print(f"\nfitted on half of the models, judged on the other half, {len(found)} ways:\n" + HEADER)
    print(line("unseen models", verdict))
    print("constants from .. to: " + ", ".join(
        f"{name} {low:.3g}..{high:.3g}" for name, low, high in zip(NAMES, found.min(axis=0), found.max(axis=0))))

    print("\nwhat each part is worth (fitted anew):\n" + HEADER)
    for rule in ABLATIONS:
        print(line(rule, judge(runs, predict(fit(runs, ring, rule), runs, ring, rule))))


if __name__ == "__main__":
    main()
