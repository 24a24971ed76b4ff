#!/usr/bin/env python3
"""The works that bench/compare.py compares: as model files for shardc, and as functions of PyTorch and JAX.

    compare_models.py torch|jax NAME STEPS     prints the seconds of each step after the first, as JSON
    compare_models.py peak "" TIMES            prints the flops per second of a 1024 x 1024 product
"""

import json
import statistics
import sys
import time

GPT = {"B": 4, "S": 256, "V": 50304, "E": 768, "H": 12, "D": 64, "F": 3072, "L": 12}
HEADS = 4  # of the works that are attention alone
MOST_SCORES = 5e8  # bytes of one matrix of them, where they are materialised

ATTENTION = """\
model: attention
dims: {{B: 1, S: {s}, H: {h}, D: {d}}}
{kind}:
  q: f32[B, S, H, D]{init}
  k: f32[B, S, H, D]{init}
  v: f32[B, S, H, D]{init}
graph:
  - a: attention(q, k, v, causal={causal})
  - loss: sum(a)
outputs: [loss]
"""


def without_training(text):
    """The model file without its `train:` section."""
    lines, inside = [], False
    for line in text.splitlines():
        inside = line.startswith("train:") or (inside and (line.startswith(" ") or not line))
        if not inside:
            lines.append(line)
    return "\n".join(lines) + "\n"


def resnet18():
    """Stages of two blocks of two 3x3 convolutions, as in ResNet-18, with normalisations folded away."""
    params = ["  stem: f32[64, 3, 7, 7] = normal(0.05)"]
    graph = ["  - x0: max_pool2d(relu(conv2d(images, stem, stride=2, padding=3)), 3, stride=2, padding=1)"]
    x, channels = "x0", 64
    for stage, out in enumerate((64, 128, 256, 512)):
        for block in range(2):
            n = f"{stage}{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            params.append(f"  a{n}: f32[{out}, {channels}, 3, 3] = normal(0.03)")
            params.append(f"  b{n}: f32[{out}, {out}, 3, 3] = normal(0.03)")
            skip = x
            if channels != out:
                params.append(f"  s{n}: f32[{out}, {channels}, 1, 1] = normal(0.05)")
                skip = f"conv2d({x}, s{n}, stride={stride})"
            inner = f"relu(conv2d({x}, a{n}, stride={stride}, padding=1))"
            graph.append(f"  - y{n}: relu(conv2d({inner}, b{n}, padding=1) + {skip})")
            x, channels = f"y{n}", out
    params.append("  head: f32[512, 1000] = normal(0.05)")
    graph.append(f"  - logits: linear(mean(reshape({x}, [B, 512, 49]), axis=2), head)")
    head = "model: resnet18\ndims: {B: 4}\ninputs:\n  images: f32[B, 3, 224, 224]\n"
    return head + "params:\n" + "\n".join(params) + "\ngraph:\n" + "\n".join(graph) + "\noutputs: [logits]\n"


class Work:
    def __init__(self, name, yaml, steps, flops=0, **about):
        self.name, self.yaml, self.steps, self.flops, self.dims, self.about = name, yaml, steps, flops, "", about


def example(name, train=True, precision=None):
    def text(root):
        found = (root / "examples" / f"{name}.yaml").read_text()
        if precision:
            return found.replace("train:\n", f"train:\n  precision: {precision}\n")
        return found if train else without_training(found)

    return text


def attention(s, d, causal, train):
    pairs = s * (s + 1) / 2 if causal else s * s
    text = ATTENTION.format(
        s=s,
        d=d,
        h=HEADS,
        causal=str(causal).lower(),
        kind="params" if train else "inputs",
        init=" = normal(1.0)" if train else "",
    )
    if train:
        text += "train:\n  loss: loss\n  optimizer: sgd(lr=0.0)\n"
    name = f"attention-{'train' if train else 'forward'}-{s}-{d}{'-causal' if causal else ''}"
    flops = (7 if train else 2) * 2 * pairs * d * HEADS
    steps = max(3, min(20, int(4e10 / flops)))
    return Work(name, lambda root: text, steps, flops, s=s, d=d, causal=causal, train=train)


def gpt_flops(train):
    n, e = GPT["B"] * GPT["S"], GPT["E"]
    forward = GPT["L"] * (2 * n * e * (4 * e + 2 * GPT["F"]) + 2 * 2 * n * (GPT["S"] + 1) / 2 * e) + 2 * n * e * GPT["V"]
    return (3 * forward + GPT["L"] * 2 * n * (GPT["S"] + 1) / 2 * e) if train else forward


WORKS = [
    Work("gpt2-124m-train", example("gpt2-small"), 4, gpt_flops(True)),
    Work("gpt2-124m-train-bf16", example("gpt2-small", precision="bf16-mixed"), 4, bf16=True),
    Work("gpt2-124m-forward", example("gpt2-small", False), 6, gpt_flops(False)),
    Work("llama-tiny-train", example("llama-tiny"), 200),
    Work("vit-tiny-train", example("vit-tiny"), 200),
    Work("resnet18-forward", lambda root: resnet18(), 6),
    *[
        attention(s, d, causal, train)
        for train in (False, True)
        for d in (64, 128)
        for causal in (True, False)
        for s in (512, 1024, 2048, 4096, 8192, 16384)
    ],
]


# --- PyTorch -----------------------------------------------------------------------------------------------


def torch_attention(about):
    import torch
    import torch.nn.functional as F

    shape = (1, HEADS, about["s"], about["d"])
    q, k, v = (torch.randn(shape, requires_grad=about["train"]) for _ in range(3))

    def step():
        y = F.scaled_dot_product_attention(q, k, v, is_causal=about["causal"]).sum()
        if about["train"]:
            y.backward()
            q.grad = k.grad = v.grad = None
        return y.item()

    return step


def torch_gpt(about, train):
    import torch
    import torch.nn.functional as F

    c = GPT
    shapes = {
        "ln1_g": (c["E"],), "ln1_b": (c["E"],), "wqkv": (3 * c["E"], c["E"]), "wo": (c["E"], c["E"]),
        "ln2_g": (c["E"],), "ln2_b": (c["E"],), "w1": (c["F"], c["E"]), "b1": (c["F"],),
        "w2": (c["E"], c["F"]), "b2": (c["E"],),
    }  # fmt: skip
    leaf = lambda shape: (torch.randn(shape) * 0.02).requires_grad_(train)  # noqa: E731
    layers = [{n: leaf(s) for n, s in shapes.items()} for _ in range(c["L"])]
    wte, wpe, g, b = leaf((c["V"], c["E"])), leaf((c["S"], c["E"])), leaf((c["E"],)), leaf((c["E"],))
    tokens = torch.randint(c["V"], (c["B"], c["S"]))

    def forward():
        x = wte[tokens] + wpe
        for p in layers:
            h = F.layer_norm(x, (c["E"],), p["ln1_g"], p["ln1_b"])
            q, k, v = (h @ p["wqkv"].T).view(c["B"], c["S"], 3, c["H"], c["D"]).permute(2, 0, 3, 1, 4)
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + a.transpose(1, 2).reshape(c["B"], c["S"], c["E"]) @ p["wo"].T
            h = F.layer_norm(x, (c["E"],), p["ln2_g"], p["ln2_b"])
            x = x + F.linear(F.gelu(F.linear(h, p["w1"], p["b1"]), approximate="tanh"), p["w2"], p["b2"])
        logits = F.layer_norm(x, (c["E"],), g, b) @ wte.T
        return F.cross_entropy(logits.view(-1, c["V"]), tokens.view(-1))

    if not train:
        return lambda: torch.no_grad()(forward)().item()
    mixed = torch.autocast("cpu", dtype=torch.bfloat16, enabled=about.get("bf16", False))
    params = [wte, wpe, g, b] + [p for layer in layers for p in layer.values()]
    optimizer = torch.optim.AdamW(params, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with mixed:
            loss = forward()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_resnet(about):
    import torch
    import torch.nn.functional as F

    w = lambda *shape: torch.randn(shape) * 0.03  # noqa: E731
    stem, head, blocks, channels = w(64, 3, 7, 7), w(512, 1000), [], 64
    for stage, out in enumerate((64, 128, 256, 512)):
        for block in range(2):
            skip = w(out, channels, 1, 1) if channels != out else None
            blocks.append((w(out, channels, 3, 3), w(out, out, 3, 3), skip, 2 if stage and not block else 1))
            channels = out
    images = torch.randn(4, 3, 224, 224)

    @torch.no_grad()
    def step():
        x = F.max_pool2d(F.relu(F.conv2d(images, stem, stride=2, padding=3)), 3, 2, 1)
        for a, b, s, stride in blocks:
            y = F.conv2d(F.relu(F.conv2d(x, a, stride=stride, padding=1)), b, padding=1)
            x = F.relu(y + (x if s is None else F.conv2d(x, s, stride=stride)))
        return (x.mean((2, 3)) @ head).sum().item()

    return step


# --- JAX ---------------------------------------------------------------------------------------------------


def jax_attention_of(q, k, v, causal):
    import jax
    import jax.numpy as jnp

    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    if causal:
        seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        scores = jnp.where(seen, scores, -1e30)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)


def jax_attention(about):
    import jax

    scores = 4 * HEADS * about["s"] ** 2
    if scores > MOST_SCORES:
        raise SystemExit(f"its scores take {scores / 1e9:.1f} GB, several times")
    shape = (1, about["s"], HEADS, about["d"])
    q, k, v = (jax.random.normal(jax.random.key(i), shape) for i in range(3))
    loss = lambda q, k, v: jax_attention_of(q, k, v, about["causal"]).sum()  # noqa: E731
    run = jax.jit(jax.grad(loss, (0, 1, 2)) if about["train"] else loss)
    return lambda: jax.block_until_ready(run(q, k, v))


def jax_gpt(about, train):
    import jax
    import jax.numpy as jnp

    c, keys = GPT, iter(jax.random.split(jax.random.key(0), 64))
    w = lambda *shape: 0.02 * jax.random.normal(next(keys), shape)  # noqa: E731
    n, e, f = c["L"], c["E"], c["F"]
    stacked = {
        "g1": w(n, e), "b1": w(n, e), "q": w(n, e, c["H"], c["D"]), "k": w(n, e, c["H"], c["D"]),
        "v": w(n, e, c["H"], c["D"]), "o": w(n, c["H"], c["D"], e), "g2": w(n, e), "b2": w(n, e),
        "w1": w(n, e, f), "c1": w(n, f), "w2": w(n, f, e), "c2": w(n, e),
    }  # fmt: skip
    params = {"wte": w(c["V"], e), "wpe": w(c["S"], e), "g": w(e), "b": w(e), "layers": stacked}
    tokens = jax.random.randint(jax.random.key(1), (c["B"], c["S"]), 0, c["V"])

    def norm(x, g, b):
        mean = x.mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) * g + b

    def layer(x, p):
        h = norm(x, p["g1"], p["b1"])
        q, k, v = (jnp.einsum("bse,ehd->bshd", h, p[i]) for i in "qkv")
        x = x + jnp.einsum("bshd,hde->bse", jax_attention_of(q, k, v, True), p["o"])
        return x + jax.nn.gelu(norm(x, p["g2"], p["b2"]) @ p["w1"] + p["c1"]) @ p["w2"] + p["c2"], None

    def loss(params):
        x = params["wte"][tokens] + params["wpe"]
        x, _ = jax.lax.scan(layer, x, params["layers"])
        logits = norm(x, params["g"], params["b"]) @ params["wte"].T
        picked = jnp.take_along_axis(logits, tokens[..., None], -1)[..., 0]
        return (jax.nn.logsumexp(logits, -1) - picked).mean()

    if not train:
        run = jax.jit(loss)
        return lambda: jax.block_until_ready(run(params))

    def update(p, m, v, d, t):
        m, v = 0.9 * m + 0.1 * d, 0.95 * v + 0.05 * d * d
        return p - 3e-4 * (m / (1 - 0.9**t) / (jnp.sqrt(v / (1 - 0.95**t)) + 1e-8) + 0.1 * p), m, v

    def train_step(params, m, v, t):
        value, d = jax.value_and_grad(loss)(params)
        out = jax.tree.map(lambda *of: update(*of, t), params, m, v, d)
        pick = lambda i: jax.tree.map(lambda o: o[i], out, is_leaf=lambda o: isinstance(o, tuple))  # noqa: E731
        return value, pick(0), pick(1), pick(2)

    run = jax.jit(train_step, donate_argnums=(0, 1, 2))
    state = [params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), 0]

    def step():
        state[3] += 1
        value, *state[:3] = run(*state[:3], float(state[3]))
        jax.block_until_ready(value)

    return step


def jax_resnet(about):
    import jax
    import jax.numpy as jnp

    keys = iter(jax.random.split(jax.random.key(0), 64))
    w = lambda *shape: 0.03 * jax.random.normal(next(keys), shape)  # noqa: E731
    stem, head, blocks, channels = w(64, 3, 7, 7), w(512, 1000), [], 64
    for stage, out in enumerate((64, 128, 256, 512)):
        for block in range(2):
            skip = w(out, channels, 1, 1) if channels != out else None
            blocks.append((w(out, channels, 3, 3), w(out, out, 3, 3), skip, 2 if stage and not block else 1))
            channels = out
    images = jax.random.normal(jax.random.key(1), (4, 3, 224, 224))

    def conv(x, w, stride, pad):
        return jax.lax.conv_general_dilated(x, w, (stride, stride), [(pad, pad)] * 2)

    @jax.jit
    def run(images):
        x = jax.nn.relu(conv(images, stem, 2, 3))
        low = ((0, 0), (0, 0), (1, 1), (1, 1))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 3, 3), (1, 1, 2, 2), low)
        for a, b, s, stride in blocks:
            y = conv(jax.nn.relu(conv(x, a, stride, 1)), b, 1, 1)
            x = jax.nn.relu(y + (x if s is None else conv(x, s, stride, 0)))
        return x.mean((2, 3)) @ head

    return lambda: jax.block_until_ready(run(images))


def maker_of(which, work):
    name = work.name
    if name.startswith("attention"):
        return {"torch": torch_attention, "jax": jax_attention}[which](work.about)
    if name.startswith("gpt2"):
        if which == "jax" and work.about.get("bf16"):
            raise SystemExit("mixed precision is not written for jax")
        return {"torch": torch_gpt, "jax": jax_gpt}[which](work.about, "-train" in name)
    if name.startswith("resnet"):
        return {"torch": torch_resnet, "jax": jax_resnet}[which](work.about)
    if name.startswith(("llama-tiny", "vit-tiny")):
        import compare_small

        kind = name.split("-")[0]
        return getattr(compare_small, f"{which}_{kind}")(*([jax_attention_of] if which == "jax" else []))
    raise SystemExit(f"{name} is not written for {which}")


def peak(times):
    import numpy

    a, b = (numpy.random.default_rng(i).random((1024, 1024), dtype=numpy.float32) for i in (0, 1))
    seconds = []
    for _ in range(times + 2):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * 1024**3 / statistics.median(seconds[2:])


def main():
    which, name, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if which == "peak":
        return print(peak(steps))
    work = next(w for w in WORKS if w.name == name)
    if which == "torch":
        import torch

        torch.set_num_threads(1)
    step, seconds = maker_of(which, work), []
    for _ in range(steps + 1):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds[1:]))


if __name__ == "__main__":
    main()
