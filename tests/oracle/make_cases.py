#!/usr/bin/env python3
"""Writes cases.json beside it: what NumPy and PyTorch compute, in double precision, for calls of ops.

    pip install numpy torch && tests/oracle/make_cases.py

tests/unit/ops_test.cpp runs the same calls through shardc's interpreter. It demands that every sample call of
the op table (ir/ops/) is here, word for word, or below in NO_ORACLE of that test.
"""
import json
import math
import re
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

OPERAND = re.compile(r"(f32|bf16|f16|i32|i64|bool)\[([\d, ]*)\](?: < (\d+)| (> 0))?")
DTYPES = {"float64": "f32", "int32": "i32", "int64": "i64", "bool": "bool"}
CASES = []


def operands_of(call):
    """Small values with short decimal forms, of both signs, from a generator seeded by the call."""
    rng = np.random.RandomState(zlib.crc32(call.encode()))
    result = []
    for dtype, shape, bound, positive in OPERAND.findall(call):
        shape = tuple(int(n) for n in shape.split(",") if n.strip())
        if dtype == "bool":
            value = rng.randint(0, 2, shape).astype(bool)
        elif dtype[0] == "i":
            value = rng.randint(0 if bound else -3, int(bound) if bound else 5, shape).astype("int" + dtype[1:])
        else:
            value = np.asarray(rng.randint(1 if positive else -40, 41, shape) / 16.0)
        result.append(np.asarray(value))
    return result


def data(array):
    """Row-major numbers, whole ones without a fraction."""
    flat = [float(v) for v in np.asarray(array).ravel()]
    assert all(math.isfinite(v) for v in flat)
    return [int(v) if v == int(v) else float(f"{v:.14g}") for v in flat]


def case(call, function, dtype=None):
    operands = operands_of(call)
    results = function(*operands)
    results = list(results) if isinstance(results, (list, tuple)) else [results]
    texts = []
    for result in results:
        array = np.asarray(result.numpy() if isinstance(result, torch.Tensor) else result)
        name = dtype or DTYPES[array.dtype.name]
        shape = ", ".join(str(n) for n in array.shape)
        texts.append({"type": f"{name}[{shape}]", "data": data(array)})
    CASES.append({"call": call, "operands": [data(o) for o in operands], "results": texts})


def cases(function, *calls, dtype=None):
    for call in calls:
        case(call, function, dtype)


def t(x):
    return torch.from_numpy(np.asarray(x))


def f64(x):
    return np.asarray(x, dtype=np.float64)


def i32(x):
    return np.asarray(x, dtype=np.int32)


def bf16(x):
    """Rounded to bf16, still float64."""
    return t(f64(x)).to(torch.float32).to(torch.bfloat16).to(torch.float64)


# --- elementwise -------------------------------------------------------------------------------------------

cases(np.add, "add(f32[2, 3], f32[2, 3])", "add(f32[4, 1, 3], f32[5, 3])", "add(f32[3], f32[])",
      "add(i32[3], i32[3])", "add(f32[0, 3], f32[1, 3])", "add(i32[2], f32[2, 1])", "add(i32[2], i64[2])",
      "add(f32[1, 1], f32[3, 1])")
cases(lambda x, y: i32(x) + i32(y), "add(bool[3], bool[3])", "add(bool[3], i32[3])")
cases(lambda x, y: bf16(x + y), "add(bf16[5], bf16[5])", dtype="bf16")
cases(np.subtract, "subtract(f32[2, 3], f32[3])", "subtract(i32[3], f32[3])")
cases(np.multiply, "multiply(f32[2, 3], f32[2, 1])", "multiply(i32[3], i32[3])")
cases(np.true_divide, "divide(f32[2, 3], f32[3] > 0)", "divide(i32[3], f32[3] > 0)")
cases(lambda x, y: np.power(f64(x), f64(y)), "power(f32[2, 3] > 0, f32[3])", "power(f32[3] > 0, i32[])")
cases(np.maximum, "maximum(f32[2, 3], f32[3])", "maximum(i32[3], i32[])")
cases(np.minimum, "minimum(f32[2, 3], f32[3])")
cases(np.negative, "negative(f32[2, 3])", "negative(i32[3])")
cases(np.abs, "abs(f32[2, 3])", "abs(i32[3])")
cases(np.sign, "sign(f32[2, 3])", "sign(i32[3])")
cases(np.floor, "floor(f32[2, 3])")
cases(np.square, "square(f32[2, 3])", "square(i32[3])")
cases(lambda x: np.exp(f64(x)), "exp(f32[2, 3])", "exp(i32[3])", "exp(f32[0])", "exp(f32[1, 1])")
cases(np.log, "log(f32[2, 3] > 0)")
cases(np.log1p, "log1p(f32[2, 3] > 0)")
cases(np.sqrt, "sqrt(f32[2, 3] > 0)")
cases(lambda x: t(x).rsqrt(), "rsqrt(f32[2, 3] > 0)")
cases(np.sin, "sin(f32[2, 3])")
cases(lambda x: np.cos(f64(x)), "cos(f32[2, 3])", "cos(i32[2, 3])")
cases(np.tanh, "tanh(f32[2, 3])")
cases(lambda x: torch.erf(t(x)), "erf(f32[2, 3])")
cases(lambda x: torch.sigmoid(t(x)), "sigmoid(f32[2, 3])")
cases(lambda x: torch.relu(t(x)), "relu(f32[2, 3])")
cases(lambda x: F.gelu(t(x), approximate="tanh"), "gelu(f32[2, 3])")
cases(lambda x: F.gelu(t(x)), "gelu(f32[2, 3], approximate=false)")
cases(lambda x: F.silu(t(x)), "silu(f32[2, 3])")
cases(lambda x: F.softplus(t(x), threshold=1e9), "softplus(f32[2, 3])")
cases(np.less, "less(f32[2, 3], f32[3])")
cases(np.less_equal, "less_equal(i32[2, 3], i32[3])")
cases(np.greater, "greater(f32[2, 3], i32[3])")
cases(np.greater_equal, "greater_equal(i32[2, 3], i32[3])")
cases(np.equal, "equal(i32[2, 3] < 3, i32[3] < 3)", "equal(bool[3], bool[3])")
cases(np.not_equal, "not_equal(i32[2, 3] < 3, i32[3] < 3)")
cases(np.logical_and, "logical_and(bool[2, 3], bool[3])", "logical_and(i32[3] < 2, bool[3])")
cases(np.logical_or, "logical_or(bool[2, 3], bool[3])")
cases(np.logical_not, "logical_not(bool[2, 3])", "logical_not(i32[3] < 2)")
cases(np.where, "where(bool[2, 3], f32[2, 3], f32[3])", "where(bool[2, 1], i32[], i32[3])",
      "where(bool[2, 1], i32[3], f32[])")
cases(lambda x: np.clip(x, -0.5, 0.75), "clip(f32[2, 3], -0.5, 0.75)")
cases(lambda x: np.clip(x, None, 0.25), "clip(f32[3], max=0.25)")
cases(lambda x: np.clip(x, 0, None), "clip(i32[4], min=0)")
cases(lambda x: x.astype("int32"), "cast(f32[2, 3], \"i32\")")
cases(lambda x: x.astype("float64"), "cast(bool[3], \"f32\")")
cases(lambda x: x.astype("bool"), "cast(i32[4] < 2, \"bool\")")
cases(bf16, "cast(f32[3], \"bf16\")", dtype="bf16")
cases(lambda x: x, "stop_gradient(f32[2, 3])")

# --- contractions ------------------------------------------------------------------------------------------


def einsum(*calls):
    for call in calls:
        spec = call.split('"')[1]
        case(call, lambda *xs, spec=spec: np.einsum(spec, *xs))


einsum('einsum("bse,ehd->bshd", f32[2, 3, 4], f32[4, 3, 2])', 'einsum("ij->j", f32[3, 4])',
       'einsum("ij,jk", f32[3, 4], f32[4, 2])', 'einsum("i,j->ij", f32[3], f32[2])',
       'einsum("...i,i...->...", f32[2, 3], f32[3, 1])', 'einsum("ii->i", f32[3, 3])',
       'einsum("ij,jk,kl->il", f32[2, 3], f32[3, 4], f32[4, 2])', 'einsum("i,i->", f32[5], f32[5])',
       'einsum("ij,jk->ik", f32[2, 0], f32[0, 3])', 'einsum("ii", f32[3, 3])',
       'einsum("i...i,j->j...", f32[3, 2, 3], f32[4])', 'einsum("iji->ij", f32[3, 2, 3])',
       'einsum("a...,b...,c->...cab", f32[2, 3], f32[4, 1, 3], f32[5])', 'einsum("ba", f32[2, 3])',
       'einsum("ij,ij->ij", i32[2, 3], i32[2, 3])', 'einsum("ij,kj->", f32[2, 3], f32[4, 3])',
       'einsum(" ... i j -> ... j i ", f32[2, 3, 1])')
cases(np.matmul, "matmul(f32[3, 4], f32[4, 5])", "matmul(f32[2, 1, 3, 4], f32[5, 4, 2])",
      "matmul(f32[4], f32[4])", "matmul(f32[4], f32[2, 4, 3])", "matmul(f32[2, 3, 4], f32[4])",
      "matmul(i32[2, 3], i32[3, 2])", "matmul(f32[3, 0], f32[0, 2])", "matmul(f32[0, 3], f32[3, 2])")
cases(lambda a, b: bf16(a @ b), "matmul(bf16[3, 4], bf16[4, 5])", dtype="bf16")
cases(lambda x, w, b: F.linear(t(x), t(w).T, t(b)), "linear(f32[3, 4], f32[4, 5], f32[5])",
      "linear(f32[4], f32[4, 5], f32[5])")
cases(lambda x, w: F.linear(t(x), t(w).T), "linear(f32[2, 3, 4], f32[4, 5])")

# --- reductions --------------------------------------------------------------------------------------------

cases(lambda x: np.sum(x, axis=1), "sum(f32[2, 3, 4], axis=1)")
cases(lambda x: np.sum(f64(x)), "sum(f32[2, 3])", "sum(f32[])")
cases(lambda x: np.sum(x, axis=(0, 2), keepdims=True), "sum(f32[2, 3, 4], axis=[0, -1], keepdims=true)")
cases(lambda x: np.sum(x, axis=0), "sum(f32[0, 3], axis=0)", "sum(f32[1, 3], axis=0)")
cases(lambda x: i32(np.sum(x)), "sum(i32[5])", "sum(bool[5])")
cases(lambda x: np.sum(x, axis=()), "sum(f32[2, 3], axis=[])")
cases(lambda x: np.mean(x, axis=1), "mean(f32[2, 3, 4], axis=1)", "mean(f32[0, 3], axis=1)")
cases(lambda x: np.mean(f64(x)), "mean(f32[2, 3])", "mean(i32[5])", "mean(f32[])")
cases(lambda x: np.mean(x, axis=-1, keepdims=True), "mean(f32[2, 3], axis=-1, keepdims=true)")
cases(lambda x: np.max(x, axis=1), "max(f32[2, 3, 4], axis=1)")
cases(lambda x: np.max(x), "max(f32[2, 3])")
cases(lambda x: np.max(x, axis=0, keepdims=True), "max(i32[2, 3], axis=0, keepdims=true)")
cases(lambda x: np.min(x, axis=1), "min(f32[2, 3, 4], axis=1)")
cases(lambda x: np.min(x, axis=-1, keepdims=True), "min(f32[2, 3], axis=-1, keepdims=true)")
cases(lambda x: np.var(x, axis=1), "var(f32[2, 3, 4], axis=1)")
cases(lambda x: np.var(x, keepdims=True, ddof=1), "var(f32[2, 3], keepdims=true, correction=1)")
cases(lambda x: np.var(x, axis=0), "var(f32[1, 3], axis=0)")
cases(lambda x: torch.logsumexp(t(x), 1), "logsumexp(f32[2, 3, 4], axis=1)")
cases(lambda x: torch.logsumexp(t(x), 0), "logsumexp(f32[5])")
cases(lambda x: torch.logsumexp(t(x), -1, True), "logsumexp(f32[2, 3], axis=-1, keepdims=true)")
cases(lambda x: i32(np.argmax(x, axis=-1)), "argmax(f32[2, 3])")
cases(lambda x: i32(np.argmax(x, axis=0)), "argmax(i32[4, 3] < 3, axis=0)")
cases(lambda x: i32(np.argmin(x, axis=-1)), "argmin(f32[2, 3])")
cases(lambda x: i32(np.argmin(x, axis=0)), "argmin(i32[4, 3] < 3, axis=0)")

# --- shapes ------------------------------------------------------------------------------------------------


def reshape(*calls):
    for call in calls:
        shape = json.loads(re.search(r", (\[[^]]*\])\)$", call)[1])
        case(call, lambda x, shape=shape: np.reshape(x, shape))


reshape("reshape(f32[8, 4], [32])", "reshape(f32[6, 4], [3, -1])", "reshape(f32[2, 6, 4], [2, 2, 3, 2, 2])",
        "reshape(f32[5, 4, 6], [5, 6, 4])", "reshape(f32[4, 6], [1, 6, 1, 4])", "reshape(f32[], [1, 1])",
        "reshape(f32[1, 1], [])", "reshape(f32[0, 3], [3, 0, 2])", "reshape(i32[6], [2, 3])",
        "reshape(f32[32], [8, 4])", "reshape(f32[3, 1, 4, 1], [1, 6, 2])", "reshape(f32[2, 3, 5, 7], [7, 5, 3, 2])",
        "reshape(f32[1], [1, -1, 1])", "reshape(f32[4, 6, 35], [6, 4, 7, 5])")
cases(np.transpose, "transpose(f32[2, 3])", "transpose(i32[0, 3])", "transpose(f32[])")
cases(lambda x: np.transpose(x, (1, 2, 0)), "transpose(f32[2, 3, 4], [1, 2, 0])")
cases(lambda x: np.transpose(x, (2, 0, 1)), "transpose(f32[2, 1, 4], axes=[-1, 0, 1])")
cases(lambda x: np.expand_dims(x, 1), "expand_dims(f32[2, 3], 1)")
cases(lambda x: np.expand_dims(x, (0, -1)), "expand_dims(f32[3], [0, -1])")
cases(lambda x: np.expand_dims(x, 0), "expand_dims(f32[0], 0)")
cases(np.squeeze, "squeeze(f32[1, 3, 1])")
cases(lambda x: np.squeeze(x, -1), "squeeze(f32[1, 3, 1], axis=-1)")
cases(lambda x: np.broadcast_to(x, (2, 3, 4)), "broadcast_to(f32[3, 1], [2, 3, 4])")
cases(lambda x: np.broadcast_to(x, (3,)), "broadcast_to(f32[], [3])")
cases(lambda x: np.broadcast_to(x, (0, 2)), "broadcast_to(f32[1, 2], [0, 2])")
cases(lambda *xs: np.concatenate(xs), "concat(f32[2, 3], f32[4, 3])", "concat(i32[2], f32[3])",
      "concat(bool[2], bool[3])", "concat(f32[3])")
cases(lambda *xs: np.concatenate(xs, axis=-1), "concat(f32[2, 3], f32[2, 1], f32[2, 0], axis=-1)")
cases(lambda *xs: np.stack(xs), "stack(f32[2, 3], f32[2, 3])", "stack(f32[], f32[])")
cases(lambda *xs: np.stack(xs, axis=-1), "stack(f32[3], f32[3], f32[3], axis=-1)")
cases(lambda x: np.split(x, 3), "split(f32[6, 2], 3)")
cases(lambda x: torch.split(t(x), [2, 4, 1], 1), "split(f32[2, 7], [2, 4, 1], axis=1)")
cases(lambda x: x[1:4], "slice(f32[6, 2], 1, 4)")
cases(lambda x: x[:, 1:-1:3], "slice(f32[2, 9], 1, -1, 3, axis=1)")
cases(lambda x: x[1:4, 2:6], "slice(f32[5, 6], [1, 2], [4, 6], axis=[0, 1])")
cases(lambda x: x[4:], "slice(f32[4], start=4)")
cases(lambda x: x[-3:9], "slice(f32[5], -3, 9)")
cases(lambda x: np.pad(x, [[1, 0], [0, 2]]), "pad(f32[2, 3], [[1, 0], [0, 2]])")
cases(lambda x: np.pad(x, [[2, 1]]), "pad(i32[3], [[2, 1]])")
cases(lambda x: np.pad(x, [[1, 1]]), "pad(f32[0], [[1, 1]])")
cases(lambda x: np.pad(x, 1, constant_values=0.5), "pad(f32[2, 2], 1, value=0.5)")
cases(lambda x: np.pad(x, [0, 1], constant_values=-3), "pad(i32[2, 2], [0, 1], -3)")
cases(np.flip, "flip(f32[3, 4])")
cases(lambda x: np.flip(x, -1), "flip(f32[3, 4], axis=-1)", "flip(i32[5], 0)")
cases(lambda x: np.roll(x, 2), "roll(f32[5], 2)")
cases(lambda x: np.roll(x, 1), "roll(bool[2, 3], 1)")
cases(lambda x: np.roll(x, -1, 1), "roll(f32[3, 4], -1, axis=1)")
cases(lambda x: np.roll(x, (1, 6), (0, -1)), "roll(f32[3, 4], [1, 6], axis=[0, -1])")
cases(lambda x: np.tile(x, 2), "tile(f32[3], 2)")
cases(lambda x: np.tile(x, (2, 1)), "tile(f32[2, 3], [2, 1])")
cases(lambda x: np.tile(x, (3, 2)), "tile(f32[2], [3, 2])")
cases(lambda x: np.repeat(x, 2, 0), "repeat_elements(f32[3, 2], 2)")
cases(lambda x: np.repeat(x, 3, -1), "repeat_elements(i32[2, 3], 3, axis=-1)")

# --- indexing ----------------------------------------------------------------------------------------------


def take(x, indices, axis=0):
    """Zeros for an index that is out of range: one more slice, which NumPy can take."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, 1)
    size = x.shape[axis]
    return np.take(np.pad(x, widths), np.where((indices < 0) | (indices >= size), size, indices), axis)


cases(take, "take(f32[5, 3], i32[4] < 5)", "take(f32[5, 3], i32[2, 2] < 5)", "take(f32[5], i32[] < 5)",
      "take(i32[5], i32[3] < 5)", "take(bool[5], i32[3] < 5)", "take(f32[0, 3], i32[2] < 2)", "take(f32[3], i32[8])")
cases(lambda x, i: take(x, i, 1), "take(f32[2, 5, 3], i64[4] < 6, axis=1)")
cases(lambda x, i: np.take_along_axis(x, i, -1), "take_along_axis(f32[3, 5], i32[3, 2] < 5)",
      "take_along_axis(bool[2, 3], i32[2, 3] < 3)")
cases(lambda x, i: np.take_along_axis(x, i, 0), "take_along_axis(f32[4, 2, 3], i32[5, 2, 3] < 4, axis=0)")


def scatter_add(x, i, u, axis=-1):
    return t(x).scatter_add(axis, t(i).long(), t(u))


cases(scatter_add, "scatter_add(f32[3, 5], i32[3, 2] < 5, f32[3, 2])", "scatter_add(i32[4], i32[6] < 4, i32[6])")
cases(lambda x, i, u: scatter_add(x, i, u, 0), "scatter_add(f32[3, 2], i32[4, 2] < 3, f32[4, 2], axis=0)")


def dynamic_slice(x, start, size, axis=0):
    start = min(max(int(start), 0), x.shape[axis] - size)
    return np.take(x, range(start, start + size), axis)


cases(lambda x, i: dynamic_slice(x, i, 3), "dynamic_slice(f32[6, 2], i32[] < 4, 3)")
cases(lambda x, i: dynamic_slice(x, i, 2, 1), "dynamic_slice(f32[2, 5], i32[] < 9, 2, axis=1)")
cases(lambda x, i: dynamic_slice(x, i, 1), "dynamic_slice(i32[4], i32[] < 4, 1)")
cases(lambda x: F.one_hot(t(x).long(), 5).double(), "one_hot(i32[4] < 5, 5)")
cases(lambda x: i32(np.eye(4)[x][..., :3]), "one_hot(i32[2, 2] < 4, 3, \"i32\")")
cases(lambda x: np.eye(4, dtype=bool)[x], "one_hot(i32[2] < 4, 4, dtype=\"bool\")")
cases(lambda: np.float64(0.5), "constant(0.5)")
cases(lambda: np.full((2, 3), -3, np.int32), "constant(-3, [2, 3], \"i32\")")
cases(lambda: np.full(2, True), "constant(true, [2], dtype=\"bool\")")
cases(lambda: np.full(0, 2.0), "constant(2, [0])")
cases(lambda: np.arange(5, dtype=np.int32), "iota(5)")
cases(lambda: np.indices((2, 3), np.int32)[1], "iota([2, 3], axis=1)")
cases(lambda: f64(np.indices((2, 3))[0]), "iota([2, 3], dtype=\"f32\")")
cases(np.zeros_like, "zeros_like(f32[2, 3])", "zeros_like(bool[2])")
cases(np.ones_like, "ones_like(f32[2, 3])", "ones_like(i32[2])")

# --- sweeps ------------------------------------------------------------------------------------------------


def whole(function):
    """Sums of small integers stay i32 here; NumPy widens them."""
    return lambda x: function(x) if x.dtype == np.float64 else i32(function(x))


cases(whole(lambda x: np.cumsum(x, -1)), "cumsum(f32[3, 4])", "cumsum(i32[2, 5])", "cumsum(bool[6])",
      "cumsum(f32[2, 0])")
cases(lambda x: np.cumsum(x[::-1], 0)[::-1], "cumsum(f32[6, 2], axis=0, reverse=true)")
cases(whole(lambda x: np.cumprod(x, -1)), "cumprod(f32[3, 4])", "cumprod(i32[4])")
cases(lambda x: np.cumprod(x[::-1], 0)[::-1], "cumprod(f32[6, 2], axis=0, reverse=true)")


def linear_scan(a, b, axis=-1, reverse=False):
    a, b = (np.moveaxis(x, axis, 0) for x in np.broadcast_arrays(a, b))
    y, state = np.zeros(b.shape), np.zeros(b.shape[1:])
    for i in range(len(b))[::-1] if reverse else range(len(b)):
        state = y[i] = a[i] * state + b[i]
    return np.moveaxis(y, 0, axis)


cases(linear_scan, "linear_scan(f32[3, 4], f32[3, 4])", "linear_scan(f32[4], f32[2, 4])")
cases(lambda a, b: linear_scan(a, b, 1, True), "linear_scan(f32[6, 1], f32[2, 6, 3], axis=1, reverse=true)")
cases(lambda x: np.sort(x, -1), "sort(f32[3, 4])", "sort(i32[5])", "sort(bool[4])")
cases(lambda x: -np.sort(-x, 0), "sort(f32[6, 2], axis=0, descending=true)")
cases(lambda x: i32(np.argsort(x, -1, kind="stable")), "argsort(f32[3, 4])")
cases(lambda x: i32(np.argsort(-x, 0, kind="stable")), "argsort(i32[6, 2] < 3, axis=0, descending=true)")


def top_k(x, k, axis=-1):
    places = np.take(np.argsort(-x, axis, kind="stable"), range(k), axis)
    return np.take_along_axis(x, places, axis), i32(places)


cases(lambda x: top_k(x, 2), "top_k(f32[3, 8], 2)")
cases(lambda x: top_k(x, 3, 0), "top_k(i32[12, 2] < 4, 3, axis=0)")
cases(lambda x: top_k(x, 4), "top_k(f32[4], 4)")


def linear_attention(q, k, v, decay=None):
    y, state = np.zeros(v.shape), np.zeros((*q[:, 0].shape, v.shape[-1]))
    for t in range(q.shape[1]):
        if decay is not None:
            state = state * decay[:, t, :, None, None]
        state = state + k[:, t, :, :, None] * v[:, t, :, None, :]
        y[:, t] = np.einsum("bhd,bhde->bhe", q[:, t], state)
    return y


cases(linear_attention, "linear_attention(f32[2, 4, 2, 3], f32[2, 4, 2, 3], f32[2, 4, 2, 2], chunk=2)",
      "linear_attention(f32[1, 5, 2, 2], f32[1, 5, 2, 2], f32[1, 5, 2, 3], f32[1, 5, 2] > 0, chunk=2)",
      "linear_attention(f32[1, 3, 1, 2], f32[1, 3, 1, 2], f32[1, 3, 1, 2])")

# --- grids -------------------------------------------------------------------------------------------------


def conv(x, w, b=None, **options):
    function = {3: F.conv1d, 4: F.conv2d}[x.ndim]
    return function(t(x), t(w), None if b is None else t(b), **options)


cases(conv, "conv1d(f32[2, 3, 7], f32[4, 3, 3], f32[4])")
cases(lambda x, w: conv(x, w, stride=2, padding=1), "conv1d(f32[1, 2, 8], f32[2, 2, 3], stride=2, padding=1)",
      "conv2d(f32[1, 2, 7, 6], f32[3, 2, 3, 3], stride=2, padding=1)")
cases(lambda x, w: conv(np.pad(x, [(0, 0), (0, 0), (2, 0)]), w, groups=4),
      "conv1d(f32[1, 4, 6], f32[4, 1, 3], padding=[[2, 0]], groups=4)")
cases(lambda x, w: conv(x, w, stride=3, dilation=2), "conv1d(f32[1, 2, 9], f32[2, 2, 2], stride=3, dilation=2)")
cases(lambda x, w, b: conv(x, w, b, padding=1), "conv2d(f32[2, 3, 5, 4], f32[4, 3, 3, 3], f32[4], padding=1)")
# For an even window that need not be padded, as TensorFlow has it; three columns get one on either side.
cases(lambda x, w: conv(x, w, stride=(2, 1), padding=(0, 1)),
      "conv2d(f32[1, 2, 6, 5], f32[2, 2, 2, 3], stride=[2, 1], padding=\"same\")")
cases(lambda x, w: conv(x, w, groups=2, dilation=2), "conv2d(f32[1, 4, 5, 5], f32[6, 2, 2, 2], groups=2, dilation=2)")
cases(lambda x, w, b: conv(x, w, b, stride=2), "conv2d(f32[2, 3, 4, 4], f32[2, 3, 1, 1], f32[2], stride=2)")
cases(lambda x, w: conv(f64(x), f64(w)).to(torch.int32),
      "conv2d(i32[1, 1, 3, 3], i32[1, 1, 2, 2], padding=\"valid\")")
cases(lambda x: F.max_pool2d(t(x), 2), "max_pool2d(f32[2, 3, 4, 6], 2)")
cases(lambda x: F.max_pool2d(t(x), 3, 2, 1), "max_pool2d(f32[1, 2, 5, 6], 3, stride=2, padding=1)")
cases(lambda x: np.maximum(x[::2], x[1::2]), "max_pool2d(i32[4, 4], [2, 1])")
cases(lambda x: F.avg_pool2d(t(x), 2), "avg_pool2d(f32[2, 3, 4, 6], 2)")
cases(lambda x: F.avg_pool2d(t(x), 3, 2, 1), "avg_pool2d(f32[1, 2, 5, 6], 3, stride=2, padding=1)")
cases(lambda x: F.interpolate(t(x), scale_factor=2, mode="nearest"), "upsample(f32[1, 2, 3, 2])")
cases(lambda x: np.repeat(x, 3, 1), "upsample(f32[3, 2], [1, 3])")
cases(lambda x: np.convolve(x, [1, -2, 1], "same"), "stencil(f32[5], [[-1], [0], [1]], [1.0, -2.0, 1.0])")


def five_points(u):
    p = np.pad(u, 1)
    return u / 2 + (p[2:, 1:-1] + p[:-2, 1:-1]) / 8 + (p[1:-1, 2:] + p[1:-1, :-2]) / 4


cases(five_points,
      "stencil(f32[4, 5], [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], [0.5, 0.125, 0.125, 0.25, 0.25])")
cases(lambda u: np.pad(u[:, 2:], [(0, 0), (0, 2)]) + 0.5 * np.pad(u[:, :-3], [(0, 0), (3, 0)]),
      "stencil(f32[2, 4], [[2], [-3]], [1, 0.5])")


def batch_norm(x, g, b, mean=None, var=None, eps=1e-5):
    given = mean is not None
    return F.batch_norm(t(x), t(mean) if given else None, t(var) if given else None, t(g), t(b), not given, eps=eps)


cases(batch_norm, "batch_norm(f32[3, 2, 2, 3], f32[2], f32[2])",
      "batch_norm(f32[2, 2, 3], f32[2], f32[2], f32[2], f32[2] > 0)")
cases(lambda x, g, b: batch_norm(x, g, b, eps=0.1), "batch_norm(f32[4, 3], f32[3], f32[3], eps=0.1)")
cases(lambda x, g, b: F.group_norm(t(x), 2, t(g), t(b)), "group_norm(f32[2, 4, 2, 3], f32[4], f32[4], 2)")
cases(lambda x, g, b: F.group_norm(t(x), 1, t(g), t(b)), "group_norm(f32[2, 3, 4], f32[3], f32[3], 1)")
cases(lambda x, g, b: F.group_norm(t(x), 2, t(g), t(b), 0.1), "group_norm(f32[2, 4], f32[4], f32[4], groups=2, eps=0.1)")

# --- networks ----------------------------------------------------------------------------------------------

cases(lambda x: torch.softmax(t(x), -1), "softmax(f32[3, 4])", "softmax(f32[3, 1])", "softmax(f32[0, 4])",
      "softmax(f32[4, 0])")
cases(lambda x: torch.softmax(t(x), 1), "softmax(f32[2, 3, 4], axis=1)")
cases(lambda x: bf16(torch.softmax(t(x), -1).numpy()), "softmax(bf16[3, 4])", dtype="bf16")
cases(lambda x: torch.log_softmax(t(x), -1), "log_softmax(f32[3, 4])")
cases(lambda x: torch.log_softmax(t(x), 1), "log_softmax(f32[2, 3, 4], axis=1)")


def layer_norm(x, g, b=None, eps=1e-5):
    return F.layer_norm(t(x), x.shape[-1:], t(g), None if b is None else t(b), eps)


cases(layer_norm, "layer_norm(f32[3, 4], f32[4], f32[4])", "layer_norm(f32[2, 4], f32[4])",
      "layer_norm(f32[0, 4], f32[4], f32[4])", "layer_norm(f32[3, 1], f32[1], f32[1])")
cases(lambda x, g, b: layer_norm(x.swapaxes(1, 2).copy(), g, b, 0.1).transpose(1, 2),
      "layer_norm(f32[2, 3, 4], f32[3], f32[3], axis=1, eps=0.1)")
cases(lambda x, g, b: bf16(layer_norm(x, g, b).numpy()), "layer_norm(bf16[3, 4], bf16[4], bf16[4])", dtype="bf16")
cases(lambda x, g: F.rms_norm(t(x), (4,), t(g), 1e-6), "rms_norm(f32[3, 4], f32[4])")
cases(lambda x, g: F.rms_norm(t(x).transpose(1, 2), (3,), t(g), 1e-6).transpose(1, 2),
      "rms_norm(f32[2, 3, 4], f32[3], axis=1)")


def attention(q, k, v, mask=None, scale=None):
    """By PyTorch, which wants heads before positions; queries without keys, NaN there, are 0 here."""
    out = F.scaled_dot_product_attention(*(t(x).transpose(1, 2) for x in (q, k, v)), scale=scale, enable_gqa=True,
                                         attn_mask=None if mask is None else t(mask))
    return torch.nan_to_num(out).transpose(1, 2)


def mask(queries, keys, causal, window=None):
    distance = (np.arange(queries) + keys - queries)[:, None] - np.arange(keys)[None, :]
    see = np.ones((queries, keys), bool)
    if causal:
        see &= distance >= 0
    if window:
        see &= np.abs(distance) < window
    return see


cases(attention, "attention(f32[2, 3, 2, 4], f32[2, 3, 2, 4], f32[2, 3, 2, 4])")
cases(lambda q, k, v: attention(q, k, v, mask(5, 5, True)),
      "attention(f32[1, 5, 4, 2], f32[1, 5, 2, 2], f32[1, 5, 2, 2], causal=true)")
cases(lambda q, k, v: attention(q, k, v, mask(2, 5, True), 0.3),
      "attention(f32[1, 2, 2, 4], f32[1, 5, 2, 4], f32[1, 5, 2, 3], causal=true, scale=0.3)")
cases(lambda q, k, v: attention(q, k, v, mask(6, 6, True, 3)),
      "attention(f32[1, 6, 2, 2], f32[1, 6, 1, 2], f32[1, 6, 1, 2], causal=true, window=3)")
cases(lambda q, k, v: attention(q, k, v, mask(5, 5, False, 2)),
      "attention(f32[1, 5, 1, 2], f32[1, 5, 1, 2], f32[1, 5, 1, 2], window=2)")
cases(lambda q, k, v: attention(q, k, v, mask(4, 2, True)),
      "attention(f32[1, 4, 1, 2], f32[1, 2, 1, 2], f32[1, 2, 1, 2], causal=true)")
cases(lambda q, k, v: np.zeros((1, 3, 1, 2)), "attention(f32[1, 3, 1, 2], f32[1, 0, 1, 2], f32[1, 0, 1, 2])")


def rope(x, theta=10000.0, offset=0):
    """As a product of complex numbers, feature i + D/2 being the imaginary part of feature i."""
    half = x.shape[-1] // 2
    angle = (np.arange(x.shape[1])[:, None] + offset) * theta ** (-np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angle)[:, None, :]
    return np.concatenate([turned.real, turned.imag], -1)


cases(rope, "rope(f32[2, 3, 2, 4])", "rope(f32[0, 3, 2, 4])", "rope(f32[1, 1, 1, 2])")
cases(lambda x: rope(x, 100.0, 2), "rope(f32[1, 3, 1, 6], theta=100.0, offset=2)")
cases(lambda x, y: F.cross_entropy(t(x).reshape(-1, x.shape[-1]), t(y).reshape(-1).long()),
      "cross_entropy(f32[2, 3, 5], i32[2, 3] < 5)", "cross_entropy(f32[5], i32[] < 5)")
cases(lambda x, y: F.cross_entropy(t(x), t(y).long(), ignore_index=2),
      "cross_entropy(f32[4, 5], i32[4] < 5, ignore_index=2)")
cases(lambda x, y: np.float64(0), "cross_entropy(f32[3, 5], i32[3] < 1, ignore_index=0)",
      "cross_entropy(f32[0, 5], i32[0] < 5)")
cases(lambda x, y: F.mse_loss(t(x), t(y)), "mse_loss(f32[3, 4], f32[3, 4])")
cases(lambda x: x, "dropout(f32[3], 0.0)")


def gelu_expert(row, w1, w2):
    return F.gelu(t(row @ w1), approximate="tanh").numpy() @ w2


def gated_expert(row, w1, w2, w3):
    return (F.silu(t(row @ w1)).numpy() * (row @ w3)) @ w2


def moe(x, gate, expert, weights_of, k, capacity):
    """Token by token, first choices of all before second ones."""
    tokens = x.reshape(-1, x.shape[-1])
    logits = tokens @ gate
    experts = np.argsort(-logits, -1, kind="stable")[:, :k]
    weights = torch.softmax(t(np.take_along_axis(logits, experts, -1)), -1).numpy()
    y, load = np.zeros(tokens.shape), np.zeros(gate.shape[1], int)
    for j in range(k):
        for n, row in enumerate(tokens):
            e = experts[n, j]
            load[e] += 1
            if load[e] <= capacity:
                y[n] += weights[n, j] * expert(row, *(w[e] for w in weights_of))
    return y.reshape(x.shape)


cases(lambda x, g, w1, w2: moe(x, g, gelu_expert, (w1, w2), 2, 6),
      "moe(f32[2, 3, 2], f32[2, 4], f32[4, 2, 3], f32[4, 3, 2], capacity=6)")
cases(lambda x, g, w1, w2: moe(x, g, gelu_expert, (w1, w2), 1, 2),
      "moe(f32[6, 2], f32[2, 3], f32[3, 2, 2], f32[3, 2, 2], top_k=1, capacity=2)")
cases(lambda x, g, w1, w2: np.concatenate([moe(x[i:i + 1], g, gelu_expert, (w1, w2), 2, 2) for i in range(4)]),
      "moe(f32[4, 2, 2], f32[2, 3], f32[3, 2, 2], f32[3, 2, 2], top_k=2, groups=4)")
cases(lambda x, g, w1, w2: moe(x, g, gelu_expert, (w1, w2), 2, 4),
      "moe(f32[4, 3], f32[3, 2], f32[2, 3, 2], f32[2, 2, 3], experts=2)")
cases(lambda x, g, w1, w2, w3: moe(x, g, gated_expert, (w1, w2, w3), 2, 2),
      "moe(f32[3, 2], f32[2, 3], f32[3, 2, 2], f32[3, 2, 2], f32[3, 2, 2], capacity=2)")


def main():
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES)
    Path(__file__).with_name("cases.json").write_text(f"[\n{lines}\n]\n")


main()
