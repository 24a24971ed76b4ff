#!/usr/bin/env python3
"""Collectives side by side: shardc's ranks as threads and as MPI processes, Open MPI's own calls, and Gloo.

  ./dev bench collectives [--ranks 2] [--rounds 3] [--most BYTES] [--python VENV/bin/python]

VENV has what `pip install torch` gives; without it Gloo is left out. Every contender times a call between a
barrier and the moment when the slowest rank has returned, lower quartile of 5 to 60 calls; contenders take turns,
round by round, each time in new processes, and a figure is the median of the rounds, in microseconds. Bytes are what
each rank puts in. The last column says in how many rounds threads were ahead of Open MPI and Gloo. What is small
varies from run to run: `--most 4096 --rounds 15` takes half a minute without Gloo.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build" / "shardc_collectives"
KINDS = ["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]

GLOO = '''
import sys, time, torch, torch.distributed as dist
torch.set_num_threads(1)
dist.init_process_group("gloo")
most = int(sys.argv[1])
ranks, rank = dist.get_world_size(), dist.get_rank()
bytes = 1 << 10
while bytes <= most:
    x = torch.zeros(bytes // 4)
    whole, part, other = torch.zeros(ranks * bytes // 4), torch.zeros(bytes // 4 // ranks), torch.zeros(bytes // 4)
    calls = {"all_reduce": lambda: dist.all_reduce(x),
             "all_gather": lambda: dist.all_gather_into_tensor(whole, x),
             "reduce_scatter": lambda: dist.reduce_scatter_tensor(part, x),
             "all_to_all": lambda: dist.all_to_all_single(other, x)}
    n = max(5, min(60, (16 << 20) // bytes))
    for kind, call in calls.items():
        times = []
        for i in range(n):
            x.fill_(float(i))
            dist.barrier()
            start = time.perf_counter()
            call()
            slowest = torch.tensor([time.perf_counter() - start])
            dist.all_reduce(slowest, dist.ReduceOp.MAX)
            times.append(slowest.item())
        if rank == 0:
            print(kind, bytes, sorted(times)[n // 4], flush=True)
    bytes *= 4
dist.destroy_process_group()
'''


def parse(text):
    times = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] in KINDS:
            times[words[0], int(words[1])] = float(words[2])
    return times


def output_of(command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return done.stdout


def mpirun(what, most, ranks):
    env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    return parse(output_of(["mpirun", "--oversubscribe", "-n", str(ranks), PROGRAM, what, str(most)], env=env))


def gloo(python, most, ranks):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = dict(os.environ, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(ranks),
               GLOO_SOCKET_IFNAME="lo")
    processes = [subprocess.Popen([python, "-c", GLOO, str(most)], env=dict(env, RANK=str(rank)), text=True,
                                  stdout=subprocess.PIPE if rank == 0 else subprocess.DEVNULL)
                 for rank in range(ranks)]
    text = processes[0].communicate()[0]
    if any(process.wait() for process in processes):
        sys.exit("Gloo failed")
    return parse(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=64 << 20, help="bytes of the largest payload")
    parser.add_argument("--python", help="of an environment with torch")
    args = parser.parse_args()
    contenders = {
        "shardc threads": lambda: parse(output_of([PROGRAM, "threads", str(args.most), str(args.ranks)])),
        "shardc MPI": lambda: mpirun("mpi", args.most, args.ranks),
        "Open MPI": lambda: mpirun("own", args.most, args.ranks),
    }
    if args.python:
        contenders["Gloo"] = lambda: gloo(args.python, args.most, args.ranks)
    rounds = {name: [] for name in contenders}
    for _ in range(args.rounds):
        for name, run in contenders.items():
            rounds[name].append(run())
    print(f"load average {os.getloadavg()[0]:.1f}; {args.ranks} ranks; microseconds\n")
    print("| | bytes | " + " | ".join(contenders) + " | ahead |")
    print("|---|---|" + "---|" * (len(contenders) + 1))
    for kind in KINDS:
        for size in sorted({s for k, s in rounds["Open MPI"][0] if k == kind}):
            of = {name: [r[kind, size] * 1e6 for r in runs] for name, runs in rounds.items() if (kind, size) in runs[0]}
            cells = [f"{statistics.median(of[name]):.3g}" if name in of else "-" for name in contenders]
            others = [of[name] for name in ("Open MPI", "Gloo") if name in of]
            ahead = sum(own < min(theirs) for own, *theirs in zip(of["shardc threads"], *others))
            print(f"| {kind} | {size:,} | " + " | ".join(cells) + f" | {ahead} of {args.rounds} |")


if __name__ == "__main__":
    main()
