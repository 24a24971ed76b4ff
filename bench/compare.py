#!/usr/bin/env python3
"""shardc beside PyTorch and JAX: one rank, one thread, f32, the same work, side by side.

    bench/compare.py [--shardc build/shardc] [--python VENV/bin/python] [--rounds 5] [--only gpt2,attention] [--core 0]

--python is an interpreter that has torch and jax (pip install torch jax, in a folder outside of the repository); what
it does not have is left out, and the table says so. Rounds go through all contenders in turn, each pinned to one core
in a process of its own; a round's figure is the median of its steps, the table has the median of the rounds. The last
columns are the best of the others over shardc, and the share of the matrix products at the speed at which OpenBLAS
multiplies 1024 x 1024 matrices in the same run (numpy's, if the interpreter has it).
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import compare_models as models  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTENDERS = ("shardc", "torch", "jax")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}


class Missing(Exception):
    pass


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, pathlib.Path(folder)

    def call(self, words, timeout=1200):
        pin = ["taskset", "-c", str(self.args.core)]
        done = subprocess.run(
            [*pin, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **ONE_THREAD},
        )
        if done.returncode != 0:
            raise Missing((done.stderr.strip().splitlines() or ["failed"])[-1])
        return done.stdout

    def shardc(self, work):
        model, facts = self.folder / "model.yaml", self.folder / "facts.json"
        model.write_text(work.yaml(ROOT))
        sets = ["--set", work.dims] if work.dims else []
        words = [self.args.shardc, "run", model, *sets, "--ranks", 1, "--quiet", "--steps", work.steps + 1]
        self.call([*words, "--json", facts])
        found = json.loads(facts.read_text())
        return statistics.median(found["step_seconds"][1:]), found["peak_bytes_per_rank"][0]

    def peer(self, which, work):
        script = ROOT / "bench" / "compare_models.py"
        out = self.call([self.args.python, script, which, work.name, work.steps])
        return statistics.median(json.loads(out.splitlines()[-1])), None

    def peak(self):
        """Flops per second of a product."""
        try:
            return float(self.call([self.args.python, ROOT / "bench" / "compare_models.py", "peak", "", 9]).split()[-1])
        except Missing:
            return None

    def run(self, which, work):
        return self.shardc(work) if which == "shardc" else self.peer(which, work)


def spell(seconds):
    if seconds is None:
        return "-"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def measure(bench, work, rounds):
    """Per contender the median of its rounds, and what kept it from running."""
    times, why, memory = {c: [] for c in CONTENDERS}, {}, None
    for _ in range(rounds):
        for which in CONTENDERS:
            if which in why:
                continue
            try:
                seconds, peak_bytes = bench.run(which, work)
                times[which].append(seconds)
                memory = peak_bytes or memory
            except (Missing, subprocess.TimeoutExpired) as error:
                why[which] = str(error)
    return {c: statistics.median(t) if t else None for c, t in times.items()}, why, memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shardc", default=str(ROOT / "build" / "shardc"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="prefixes of names, with commas")
    parser.add_argument("--core", type=int, default=0)
    args = parser.parse_args()

    missing = {}
    print("| work | shardc | torch | jax | best other / shardc | of products' speed | arena MB |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, folder)
        for work in models.WORKS:
            if not any(work.name.startswith(prefix) for prefix in args.only.split(",")):
                continue
            before = bench.peak()
            times, why, memory = measure(bench, work, args.rounds)
            after = bench.peak()
            missing.update({f"{work.name}, {which}": reason for which, reason in why.items()})
            others = [times[c] for c in CONTENDERS[1:] if times[c]]
            ours = times["shardc"]
            ratio = f"{min(others) / ours:.2f}" if others and ours else "-"
            share = f"{work.flops / ours / ((before + after) / 2):.0%}" if before and after and ours and work.flops else "-"
            space = f"{memory / 1e6:.1f}" if memory else "-"
            cells = [spell(times[c]) for c in CONTENDERS]
            print(f"| {work.name} | {' | '.join(cells)} | {ratio} | {share} | {space} |", flush=True)
    for where, reason in missing.items():
        print(f"missing: {where}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
