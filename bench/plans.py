#!/usr/bin/env python3
"""How long planning takes, and how good it says its plans are: a table of published models on clusters.

    bench/plans.py [build/shardc]
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


def plan(shardc, model, cluster, dims):
    with tempfile.TemporaryDirectory() as folder:
        facts = Path(folder) / "plan.json"
        start = time.monotonic()
        run = subprocess.run([shardc, "plan", f"examples/models/{model}.yaml", "--cluster",
                              f"examples/clusters/{cluster}.yaml", "--set", dims, "--json", str(facts)],
                             cwd=ROOT, capture_output=True, text=True, timeout=600)
        seconds = time.monotonic() - start
        if run.returncode != 0:
            return seconds, run.stderr.splitlines()[0]
        return seconds, json.loads(facts.read_text())


def main():
    shardc = str(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "shardc").resolve())
    print("| model | cluster | with | planned in s | mesh | step s | MFU | GB per device | gap |")
    print("|---|---|---|---|---|---|---|---|---|")
    for model, cluster, dims in CASES:
        seconds, facts = plan(shardc, model, cluster, dims)
        if isinstance(facts, str):
            print(f"| {model} | {cluster} | {dims} | {seconds:.1f} | {facts} | | | | |")
            continue
        mesh = " x ".join(str(n) for n in facts["mesh"].values())
        print(f"| {model} | {cluster} | {dims} | {seconds:.1f} | {mesh} | {facts['step_seconds']:.3g} | "
              f"{100 * facts['mfu']:.0f}% | {facts['peak_bytes_per_device'] / 1e9:.1f} | "
              f"{100 * facts['solver']['gap']:.2g}% |", flush=True)


if __name__ == "__main__":
    main()
