"""examples/llama-tiny.yaml and examples/vit-tiny.yaml, training, as functions of PyTorch and JAX."""

LLAMA = {"B": 2, "S": 16, "V": 64, "E": 32, "H": 4, "K": 2, "D": 8, "F": 88, "L": 3}
VIT = {"B": 4, "G": 4, "P": 4, "C": 3, "E": 32, "H": 4, "D": 8, "F": 64, "L": 2, "N": 10}


def llama_shapes(c):
    layer = {
        "attn_norm": (c["E"],), "wq": (c["E"], c["H"] * c["D"]), "wk": (c["E"], c["K"] * c["D"]),
        "wv": (c["E"], c["K"] * c["D"]), "wo": (c["H"] * c["D"], c["E"]), "ffn_norm": (c["E"],),
        "gate": (c["E"], c["F"]), "up": (c["E"], c["F"]), "down": (c["F"], c["E"]),
    }  # fmt: skip
    return {"embed": (c["V"], c["E"]), "norm": (c["E"],), "head": (c["E"], c["V"])}, layer


def vit_shapes(c):
    layer = {
        "ln1_g": (c["E"],), "ln1_b": (c["E"],), "wqkv": (c["E"], 3 * c["H"] * c["D"]), "wo": (c["H"] * c["D"], c["E"]),
        "ln2_g": (c["E"],), "ln2_b": (c["E"],), "w1": (c["E"], c["F"]), "b1": (c["F"],), "w2": (c["F"], c["E"]),
        "b2": (c["E"],),
    }  # fmt: skip
    top = {
        "patch_w": (c["P"] ** 2 * c["C"], c["E"]), "patch_b": (c["E"],), "pos": (c["G"] ** 2, c["E"]),
        "norm_g": (c["E"],), "norm_b": (c["E"],), "head_w": (c["E"], c["N"]), "head_b": (c["N"],),
    }  # fmt: skip
    return top, layer


# --- PyTorch -----------------------------------------------------------------------------------------------


def torch_leaves(shapes, layers):
    import torch

    leaf = lambda shape: (torch.randn(shape) * 0.1).requires_grad_()  # noqa: E731
    top, layer = shapes
    return {n: leaf(s) for n, s in top.items()}, [{n: leaf(s) for n, s in layer.items()} for _ in range(layers)]


def torch_training(top, layers, loss_of, beta2, decay):
    import torch

    params = [*top.values(), *(p for layer in layers for p in layer.values())]
    optimizer = torch.optim.AdamW(params, lr=1e-3, betas=(0.9, beta2), weight_decay=decay, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_llama():
    import torch
    import torch.nn.functional as F

    c = LLAMA
    top, layers = torch_leaves(llama_shapes(c), c["L"])
    tokens = torch.randint(c["V"], (c["B"], c["S"]))
    angle = torch.arange(c["S"])[:, None] * 10000 ** (-torch.arange(0, c["D"], 2) / c["D"])
    cos, sin = angle.cos(), angle.sin()
    split = lambda x, heads: x.view(c["B"], c["S"], heads, c["D"]).transpose(1, 2)  # noqa: E731

    def rope(x):
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def loss():
        x = top["embed"][tokens]
        for p in layers:
            h = F.rms_norm(x, (c["E"],), p["attn_norm"], 1e-5)
            q, k, v = rope(split(h @ p["wq"], c["H"])), rope(split(h @ p["wk"], c["K"])), split(h @ p["wv"], c["K"])
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + a.transpose(1, 2).reshape(c["B"], c["S"], -1) @ p["wo"]
            h = F.rms_norm(x, (c["E"],), p["ffn_norm"], 1e-5)
            x = x + (F.silu(h @ p["gate"]) * (h @ p["up"])) @ p["down"]
        logits = F.rms_norm(x, (c["E"],), top["norm"], 1e-5) @ top["head"]
        return F.cross_entropy(logits.view(-1, c["V"]), tokens.view(-1))

    return torch_training(top, layers, loss, 0.95, 0.1)


def torch_vit():
    import torch
    import torch.nn.functional as F

    c = VIT
    top, layers = torch_leaves(vit_shapes(c), c["L"])
    images = torch.randn(c["B"], c["G"], c["P"], c["G"], c["P"], c["C"])
    labels = torch.randint(c["N"], (c["B"],))
    s = c["G"] ** 2

    def loss():
        x = images.permute(0, 1, 3, 2, 4, 5).reshape(c["B"], s, -1) @ top["patch_w"] + top["patch_b"] + top["pos"]
        for p in layers:
            h = F.layer_norm(x, (c["E"],), p["ln1_g"], p["ln1_b"], 1e-6)
            q, k, v = (h @ p["wqkv"]).view(c["B"], s, 3, c["H"], c["D"]).permute(2, 0, 3, 1, 4)
            a = F.scaled_dot_product_attention(q, k, v)
            x = x + a.transpose(1, 2).reshape(c["B"], s, -1) @ p["wo"]
            h = F.layer_norm(x, (c["E"],), p["ln2_g"], p["ln2_b"], 1e-6)
            x = x + F.gelu(h @ p["w1"] + p["b1"], approximate="tanh") @ p["w2"] + p["b2"]
        pooled = F.layer_norm(x, (c["E"],), top["norm_g"], top["norm_b"], 1e-6).mean(1)
        return F.cross_entropy(pooled @ top["head_w"] + top["head_b"], labels)

    return torch_training(top, layers, loss, 0.999, 0.05)


# --- JAX ---------------------------------------------------------------------------------------------------


def jax_leaves(shapes, layers):
    import jax

    keys = iter(jax.random.split(jax.random.key(0), 64))
    w = lambda *shape: 0.1 * jax.random.normal(next(keys), shape)  # noqa: E731
    top, layer = shapes
    return {**{n: w(*s) for n, s in top.items()}, "layers": {n: w(layers, *s) for n, s in layer.items()}}


def jax_training(params, loss, beta2, decay):
    import jax
    import jax.numpy as jnp

    def update(p, m, v, d, t):
        m, v = 0.9 * m + 0.1 * d, beta2 * v + (1 - beta2) * d * d
        return p - 1e-3 * (m / (1 - 0.9**t) / (jnp.sqrt(v / (1 - beta2**t)) + 1e-8) + decay * p), m, v

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


def jax_llama(attend):
    import jax
    import jax.numpy as jnp

    c = LLAMA
    tokens = jax.random.randint(jax.random.key(1), (c["B"], c["S"]), 0, c["V"])
    angle = jnp.arange(c["S"])[:, None, None] * 10000 ** (-jnp.arange(0, c["D"], 2) / c["D"])
    split = lambda x, heads: x.reshape(c["B"], c["S"], heads, c["D"])  # noqa: E731
    norm = lambda x, g: x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * g  # noqa: E731

    def rope(x):
        a, b = jnp.split(x, 2, -1)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return jnp.concatenate((a * cos - b * sin, b * cos + a * sin), -1)

    def layer(x, p):
        h = norm(x, p["attn_norm"])
        q, k, v = rope(split(h @ p["wq"], c["H"])), rope(split(h @ p["wk"], c["K"])), split(h @ p["wv"], c["K"])
        k, v = (jnp.repeat(t, c["H"] // c["K"], axis=2) for t in (k, v))
        x = x + attend(q, k, v, True).reshape(x.shape) @ p["wo"]
        h = norm(x, p["ffn_norm"])
        return x + (jax.nn.silu(h @ p["gate"]) * (h @ p["up"])) @ p["down"], None

    def loss(params):
        x, _ = jax.lax.scan(layer, params["embed"][tokens], params["layers"])
        logits = norm(x, params["norm"]) @ params["head"]
        picked = jnp.take_along_axis(logits, tokens[..., None], -1)[..., 0]
        return (jax.nn.logsumexp(logits, -1) - picked).mean()

    return jax_training(jax_leaves(llama_shapes(c), c["L"]), loss, 0.95, 0.1)


def jax_vit(attend):
    import jax
    import jax.numpy as jnp

    c = VIT
    images = jax.random.normal(jax.random.key(1), (c["B"], c["G"], c["P"], c["G"], c["P"], c["C"]))
    labels = jax.random.randint(jax.random.key(2), (c["B"],), 0, c["N"])
    s = c["G"] ** 2

    def norm(x, g, b):
        mean = x.mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-6) * g + b

    def layer(x, p):
        qkv = (norm(x, p["ln1_g"], p["ln1_b"]) @ p["wqkv"]).reshape(c["B"], s, 3, c["H"], c["D"])
        x = x + attend(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], False).reshape(x.shape) @ p["wo"]
        h = norm(x, p["ln2_g"], p["ln2_b"])
        return x + jax.nn.gelu(h @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"], None

    def loss(params):
        patches = images.transpose(0, 1, 3, 2, 4, 5).reshape(c["B"], s, -1)
        x, _ = jax.lax.scan(layer, patches @ params["patch_w"] + params["patch_b"] + params["pos"], params["layers"])
        pooled = norm(x, params["norm_g"], params["norm_b"]).mean(1)
        logits = pooled @ params["head_w"] + params["head_b"]
        picked = jnp.take_along_axis(logits, labels[:, None], -1)[:, 0]
        return (jax.nn.logsumexp(logits, -1) - picked).mean()

    return jax_training(jax_leaves(vit_shapes(c), c["L"]), loss, 0.999, 0.05)
