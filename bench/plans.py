#!/usr/bin/env python3
"""How long planning takes, and how good it says its plans are: a table of published models on clusters.

    bench/plans.py [build/shardc] [--wide]

--wide: instead of the table's cases the same models on 1 to 16,384 devices of one cluster.
"""
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = [  # model, cluster, --set
    ("gpt2-124m", "h100-8", "B=64"),
    ("gpt2-124m", "h100-512", "B=512"),
    ("llama3-8b", "h100-8", "B=8"),
    ("llama3-8b", "h100-64", "B=64"),
    ("llama3-70b", "h100-64", "B=16"),
    ("llama3-70b", "h100-512", "B=512"),
    ("llama3-405b", "h100-16384", "B=2048"),
    ("mixtral-8x7b", "h100-64", "B=32"),
    ("deepseek-671b", "h100-2048", "B=15360"),
    ("vit-22b", "tpuv4-4096", "B=4096"),
    ("unet", "a100-8", "B=16"),
    ("llama3-8b", "h100-2048", "B=2048,L=1000"),
]

WIDE = {  # model: devices of h100-16384 -> batch
    "gpt2-124m": {1: 8, 16: 64, 128: 512, 1024: 1024, 4096: 4096, 16384: 16384},
    "llama3-8b": {16: 16, 128: 128, 1024: 1024, 4096: 4096, 16384: 16384},
    "llama3-70b": {32: 8, 128: 128, 1024: 1024, 4096: 2048, 16384: 4096},
    "llama3-405b": {512: 128, 2048: 1024, 8192: 2048},
    "mixtral-8x7b": {16: 16, 128: 128, 1024: 512, 8192: 4096},
    "deepseek-671b": {4096: 15360, 16384: 15360},
    "vit-22b": {64: 64, 512: 512, 16384: 16384},
    "unet": {1: 4, 64: 128, 512: 512},
}


def plan(shardc, model, cluster, dims, ranks=0):
    with tempfile.TemporaryDirectory() as folder:
        facts = Path(folder) / "plan.json"
        start = time.monotonic()
        run = subprocess.run([shardc, "plan", f"examples/models/{model}.yaml", "--cluster",
                              f"examples/clusters/{cluster}.yaml", "--set", dims, "--json", str(facts),
                              *(["--ranks", str(ranks)] if ranks else [])],
                             cwd=ROOT, capture_output=True, text=True, timeout=600)
        seconds = time.monotonic() - start
        if run.returncode != 0:
            return seconds, run.stderr.splitlines()[0]
        return seconds, json.loads(facts.read_text())


def main():
    words = [word for word in sys.argv[1:] if word != "--wide"]
    cases = [(*case, 0) for case in CASES]
    if "--wide" in sys.argv:
        cases = [(m, "h100-16384", f"B={b}", n) for m, batches in WIDE.items() for n, b in batches.items()]
    shardc = str(Path(words[0] if words else ROOT / "build" / "shardc").resolve())
    print("| model | cluster | with | planned in s | mesh | step s | MFU | GB per device | gap |")
    print("|---|---|---|---|---|---|---|---|---|")
    for model, cluster, dims, ranks in cases:
        seconds, facts = plan(shardc, model, cluster, dims, ranks)
        if isinstance(facts, str):
            print(f"| {model} | {cluster} | {dims} | {seconds:.1f} | {facts} | | | | |")
            continue
        mesh = " x ".join(str(n) for n in facts["mesh"].values())
        print(f"| {model} | {cluster} | {dims} | {seconds:.1f} | {mesh} | {facts['step_seconds']:.3g} | "
              f"{100 * facts['mfu']:.0f}% | {facts['peak_bytes_per_device'] / 1e9:.1f} | "
              f"{100 * facts['solver']['gap']:.2g}% |", flush=True)


if __name__ == "__main__":
    main()
