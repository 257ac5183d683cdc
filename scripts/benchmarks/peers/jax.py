"""Plain JAX: one task's loss, `vmap` over tasks, `grad`, optax's Adam, the whole step in one `jit`.

Under `vmap` a convolution with one kernel a task is a grouped convolution, which XLA does slowly on a CPU (MAML 5-way:
4.3 s a step). As nine shifted views and a matrix product, which `vmap` batches, it takes 0.3 s; so MAML is written
that way. ProtoNet has one kernel for all, and there XLA's own convolution is the faster (0.74 s to 1.3 s).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from peers.worker import Arrays, Contestant, Job, process_peak, serve
from peers.workloads import OUTER_LR, Workload

Weights = dict[str, Any]
IMAGES = ("NHWC", "HWIO", "NHWC")


def normalise(x: Any, weights: Weights, name: str, eps: float) -> tuple[Any, Any, Any]:
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    y = (x - mean) * lax.rsqrt(var + eps)
    if f"{name}.weight" in weights:
        y = y * weights[f"{name}.weight"]
    return y + weights[f"{name}.bias"], mean, var


def convolve(x: Any, kernel: Any, stride: int) -> Any:
    """A 3x3 convolution with padding 1 as a matrix product."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    side = (x.shape[1] - 1) // stride + 1
    reach = stride * (side - 1) + 1
    views = [padded[:, i : i + reach : stride, j : j + reach : stride] for i in range(3) for j in range(3)]
    return jnp.concatenate(views, -1) @ kernel.reshape(-1, kernel.shape[-1])


def features(workload: Workload, weights: Weights, x: Any) -> tuple[Any, Weights]:
    """The features, and the batch's statistics."""
    statistics: Weights = {}
    if workload.regression:
        for i in range(2):
            x = jax.nn.relu(x @ weights[f"linears.{i}.weight"] + weights[f"linears.{i}.bias"])
        return x, statistics
    pool = workload.kind == "protonet"
    for i in range(4):
        kernel = weights[f"convs.{i}.weight"]
        if pool:
            x = lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=IMAGES)
        else:
            x = convolve(x, kernel, 2)
        x, mean, var = normalise(x, weights, f"norms.{i}", 1e-5 if pool else 1e-3)
        x = jax.nn.relu(x)
        if pool:
            count = x.shape[0] * x.shape[1] * x.shape[2]
            statistics[f"norms.{i}.running_mean"] = mean
            statistics[f"norms.{i}.running_var"] = var * count / (count - 1)
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return (x.reshape(len(x), -1) if pool else x.mean((1, 2))), statistics


def criterion(workload: Workload, out: Any, y: Any) -> Any:
    if workload.regression:
        return jnp.square(out - y).mean()
    return optax.softmax_cross_entropy_with_integer_labels(out, y).mean()


def maml(workload: Workload, weights: Weights, task: Weights) -> tuple[Any, Weights]:
    def loss(fast: Weights, x: Any, y: Any) -> Any:
        z, _ = features(workload, {**weights, **fast}, x)
        return criterion(workload, z @ fast["head.weight"] + fast["head.bias"], y)

    fast = {name: w for name, w in weights.items() if not name.startswith("norms")}
    for _ in range(workload.inner_steps):
        slopes = jax.grad(loss)(fast, task["support_x"], task["support_y"])
        fast = jax.tree.map(lambda w, g: w - workload.inner_lr * g, fast, slopes)
    return loss(fast, task["query_x"], task["query_y"]), {}


def protonet(workload: Workload, weights: Weights, task: Weights) -> tuple[Any, Weights]:
    z, statistics = features(workload, weights, jnp.concatenate([task["support_x"], task["query_x"]]))
    support, query = jnp.split(z, [len(task["support_x"])])
    onehot = jax.nn.one_hot(task["support_y"], workload.ways)
    prototypes = onehot.T @ support / onehot.sum(0)[:, None]
    distance = jnp.square(query).sum(-1, keepdims=True) - 2 * query @ prototypes.T + jnp.square(prototypes).sum(-1)
    return criterion(workload, -distance, task["query_y"]), statistics


def to_jax(array: np.ndarray) -> np.ndarray:
    """torch's layout to JAX's: kernels OIHW to HWIO, linear maps transposed."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def from_jax(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.T if array.ndim == 2 else array


class Jax(Contestant):
    """The step is compiled in the first call."""

    def prepare(self, job: Job) -> None:
        workload = self.workload = job.workload
        wanted = "gpu" if job.device == "cuda" else "cpu"
        jax.config.update("jax_platforms", "cuda" if wanted == "gpu" else "cpu")
        jax.config.update("jax_default_matmul_precision", "highest")  # float32 is what is compared
        self.device = jax.devices(wanted)[0]
        weights = {name: to_jax(array) for name, array in job.weights().items()}
        put = lambda tree: jax.device_put(tree, self.device)  # noqa: E731
        self.weights = put({name: w for name, w in weights.items() if "running" not in name})
        self.statistics = put({name: w for name, w in weights.items() if "running" in name})
        self.batches = [put(self.layout(batch)) for batch in job.batches()]
        adam = optax.adam(OUTER_LR)
        self.state = put(adam.init(self.weights))
        task_loss = protonet if workload.kind == "protonet" else maml

        def batch_loss(weights: Weights, batch: Weights) -> tuple[Any, Weights]:
            losses, statistics = jax.vmap(lambda task: task_loss(workload, weights, task))(batch)
            return losses.mean(), jax.tree.map(lambda s: s.mean(0), statistics)

        def step(weights: Weights, statistics: Weights, state: Any, batch: Weights) -> tuple[Any, ...]:
            (loss, found), slopes = jax.value_and_grad(batch_loss, has_aux=True)(weights, batch)
            statistics = {name: 0.9 * s + 0.1 * found[name] for name, s in statistics.items()}
            updates, state = adam.update(slopes, state)
            return optax.apply_updates(weights, updates), statistics, state, loss

        self.compiled = jax.jit(step, donate_argnums=(0, 1, 2))

    def layout(self, batch: Arrays) -> Arrays:
        """Images `[T, N, C, H, W]` to `[T, N, H, W, C]`."""
        return {name: a.transpose(0, 1, 3, 4, 2) if a.ndim == 5 else a for name, a in batch.items()}

    def step(self, index: int) -> None:
        done = self.compiled(self.weights, self.statistics, self.state, self.batches[index])
        self.weights, self.statistics, self.state, _ = jax.block_until_ready(done)

    def gradient(self) -> Arrays:
        moment = self.state[0].mu
        return {name: from_jax(np.asarray(m, np.float64)) / (1 - 0.9) for name, m in moment.items()}

    def memory(self) -> int:
        if self.device.platform == "cpu":
            return process_peak()
        statistics = self.device.memory_stats() or {}
        return int(statistics.get("peak_bytes_in_use", 0))

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__, "optax": optax.__version__}


if __name__ == "__main__":
    serve(Jax)
