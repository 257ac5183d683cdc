"""Life-long memory module (Kaiser, Nachum, Roy, Bengio, ICLR 2017, "Learning to remember rare events", 1703.03129).

A memory of rows (key K_i, value V_i, age A_i) that outlives tasks. For an example x of class v, with q = k / ‖k‖ and
k = W f(x), and its nearest rows by cosine n_1, n_2, …,

    n_p = the first with V = v,  n_b = the first with V ≠ v
    loss = [q · K_{n_b} - q · K_{n_p} + margin]_+
    if V_{n_1} = v:   K_{n_1} ← (q + K_{n_1}) / ‖q + K_{n_1}‖,  A_{n_1} ← 0
    else:             the oldest row ← (q, v, 0)
    A_i ← A_i + 1 elsewhere

Keys are constants to the gradient. The positive n_p may also be the row last written for v, as in the authors' code.
The search is one matrix product and a top-k per block of rows; only the two keys in the loss are gathered.

Three differences from the paper. The authors' code adds up to ±8 to ages before it picks the oldest row. k is
batch-normalised, without a learned shift: among thousands of rows the hardest negative is at first always nearer than
the positive, and unnormalised keys collapse to one point, where the loss equals the margin. And an example without a
positive has no loss; the authors' code sets q · K_{n_p} = 0, which pushes the first example of each class away from all
others.

Values outlive a task, so in training they are class ids (`truth["classes"]`), not labels, which each task permutes. The
tasks of a meta-step are parallel: each sees the memory as it was before the step, and its own rows, written by its
support examples one after the other; its queries are looked up together. All examples enter the memory at the end of
the step: keys merged into one row are summed and normalised, and new rows replace the oldest ones. A task's loss is
thus independent of the other tasks (but for pooled batch statistics), and the new memory is not the mean of what each
task alone would write. Hence `coupled`: a meta-step is neither split into chunks nor sharded across ranks.

In evaluation the memory is fixed. A support set writes task-specific rows beside it; memory rows, all of other classes,
compete for the nearest row, and where one is nearer an example gets a new row instead of being merged. Logits are the
cosines of the nearest task row of each class times log(k / 5) / margin, the authors' temperature.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algo.embedder import Embedder
from metabench.algo.metric import nearest
from metabench.backbone.base import Backbone, kept_statistics
from metabench.backbone.layers import Linear
from metabench.backbone.norm import BatchNorm
from metabench.config.types import Count, Positive
from metabench.errors import ConfigError
from metabench.objective import one_hot
from metabench.tasks import Metrics, Tasks, TaskSpec
from metabench.utils.precision import no_autocast

BLOCK = 1 << 16  # rows searched at once, which bounds the memory: one cosine per row and example
NOTHING = -2.0  # in place of a cosine where there is no row: below any cosine


class Rows(NamedTuple):
    """Task-specific rows, one per support example: keys `[T, N, F]`, labels and a mask of those in use `[T, N]`."""

    keys: Tensor
    labels: Tensor
    written: Tensor


class Found(NamedTuple):
    """Result of a look-up for examples `[...]`: the nearest row, and the positive and negative key of the loss."""

    cosine: Tensor  # to the nearest row
    row: Tensor  # index of the nearest row
    right: Tensor  # whether its value is that of the example
    right_key: Tensor  # positive `[..., F]`, zero if there is none
    wrong_key: Tensor  # negative `[..., F]`, zero if there is none


class MemoryModule(Embedder):
    """The state is the rows of the support set; ways may differ between training and test."""

    classifies = True

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        memory_size: Count,
        key_size: Count,
        neighbours: Count,
        margin: Positive,
    ) -> None:
        super().__init__(spec, backbone)
        if not spec.num_classes:
            raise ConfigError("algo", self.choice(), "needs data that numbers its training classes")
        self.neighbours, self.margin = min(neighbours, memory_size), margin
        self.temperature = max(1.0, math.log(0.2 * neighbours) / margin)
        self.project = Linear(backbone.feature_size, key_size)
        self.norm = BatchNorm(key_size, scale=False, eps=1e-5, statistics=kept_statistics(backbone))
        self.norm.bias.requires_grad_(False)
        self.register_buffer("keys", torch.zeros(memory_size, key_size))
        self.register_buffer("values", torch.full((memory_size,), -1))  # no class
        self.register_buffer("ages", torch.zeros(memory_size, dtype=torch.long))
        self.register_buffer("recent", torch.zeros(spec.num_classes + 1, dtype=torch.long))  # the last entry is a dummy
        self.keys: Tensor
        self.values: Tensor
        self.ages: Tensor
        self.recent: Tensor

    @property
    def coupled(self) -> str:
        """All tasks of a meta-step write into one memory."""
        return "algo=memorymodule writes the examples of all tasks of a meta-step into one memory"

    # ---- one task

    def fit(self, z: Tensor, y: Tensor) -> Rows:
        """Write the rows of a support set."""
        with torch.no_grad():
            q = self.queries(z)
            near, _ = search(self.keys, q.flatten(0, 1), 1)
            return self.write(q, y, near.view(y.shape), torch.zeros_like(y, dtype=torch.bool))[0]

    def read(self, state: Rows, z: Tensor) -> Tensor:
        """Logits of queries."""
        return self.logits(state, self.queries(z))

    def queries(self, z: Tensor) -> Tensor:
        """Normalised keys q of embeddings, `[T, N, F]`, in at least 32 bits."""
        with no_autocast(z.device):
            k = self.project(z.to(self.keys.dtype))
            return F.normalize(self.norm(k.transpose(0, 1)).transpose(0, 1), dim=-1)

    def logits(self, rows: Rows, q: Tensor) -> Tensor:
        """Logits `[T, M, ways]` for q `[T, M, F]`: scaled cosine of the nearest row of each class."""
        onehot = one_hot(rows.labels, self.episode.outputs, q.dtype) * rows.written.unsqueeze(-1)
        return self.temperature * nearest(q @ rows.keys.mT, onehot)

    def write(self, q: Tensor, y: Tensor, cosine: Tensor, right: Tensor) -> tuple[Rows, Found]:
        """Write examples q `[T, N, F]` with labels y one after the other; also returns each one's look-up before that.

        `cosine` and `right` `[T, N]` describe the nearest row of the memory. An example whose nearest row is that one,
        and right, is left to the memory and gets no row here. Row j is the one started by example j.
        """
        keys, written = torch.zeros_like(q), torch.zeros_like(y, dtype=torch.bool)
        found = []
        for j in range(q.shape[1]):
            seen = find(q[:, j : j + 1], y[:, j : j + 1], Rows(keys, y, written))
            best, at, hit = (part.squeeze(1) for part in seen[:3])
            own = hit & (best >= cosine[:, j])
            away = right[:, j] & (cosine[:, j] > best)
            row = torch.where(own, at, j).unsqueeze(1)
            old = keys.take_along_dim(row.unsqueeze(2), 1)
            key = F.normalize(q[:, j : j + 1] + old, dim=-1)  # an unused row is 0
            keys = keys.scatter(1, row.unsqueeze(2).expand_as(key), torch.where(away[:, None, None], old, key))
            written = written.scatter(1, row, ~away.unsqueeze(1) | written.take_along_dim(row, 1))
            found.append(seen)
        return Rows(keys, y, written), Found(*(torch.cat(parts, dim=1) for parts in zip(*found, strict=True)))

    # ---- training

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """Margin loss over support and query examples; the accuracy is on queries."""
        support, query = tasks.support, tasks.query
        z, query_z = self.together(support, query.x)
        q, size = self.queries(torch.cat([z, query_z], dim=1)), z.shape[1]
        y = torch.cat([support.y, query.y], dim=1)
        numbers = tasks.truth["classes"].gather(1, y)
        with torch.no_grad():
            there = self.look_up(q.detach(), numbers)
            first, then = q.detach().split([size, query_z.shape[1]], dim=1)
            rows, found = self.write(first, support.y, there.cosine[:, :size], there.right[:, :size])
            later = find(then, query.y, rows)
            own = Found(*(torch.cat(parts, dim=1) for parts in zip(found, later, strict=True)))
            right_key = nearer(q, there.right_key, own.right_key)
            wrong_key = nearer(q, there.wrong_key, own.wrong_key)
        with no_autocast(q.device):
            excess = (q * (wrong_key - right_key)).sum(-1) + self.margin
            loss = (F.relu(excess) * right_key.any(-1)).mean(1)
            prediction = self.logits(with_those_of(there, found, rows), q[:, size:])
        if self.training:
            with torch.no_grad():
                self.keep(q.detach(), numbers, rows, there, own)
        return loss.mean(), self.metrics(loss, prediction, query.y)

    def look_up(self, q: Tensor, numbers: Tensor) -> Found:
        """Look up q `[T, N, F]` of class ids `numbers [T, N]` in the memory."""
        flat, value = q.flatten(0, 1), numbers.flatten().unsqueeze(1)
        cosine, row = search(self.keys, flat, self.neighbours)
        right = self.values[row] == value
        recent = self.recent[value]
        known = torch.cat([right, self.values[recent] == value], dim=1)
        place = known.long().argmax(1, keepdim=True)  # the first: rows are sorted by cosine, the recent row comes last
        right_row = torch.cat([row, recent], dim=1).gather(1, place)
        wrong_row = row.gather(1, (~right).long().argmax(1, keepdim=True))
        right_key = self.keys[right_row.squeeze(1)] * known.any(1, keepdim=True)
        wrong_key = self.keys[wrong_row.squeeze(1)] * (~right).any(1, keepdim=True)
        found = (cosine[:, 0], row[:, 0], right[:, 0], right_key, wrong_key)
        return Found(*(part.unflatten(0, numbers.shape) for part in found))

    def keep(self, q: Tensor, numbers: Tensor, rows: Rows, there: Found, own: Found) -> None:
        """Write a meta-step to the memory: keys q `[T, N + M, F]` of support and query, and the support `rows`."""
        size = rows.labels.shape[1]
        near = there.right & (there.cosine > own.cosine)  # to merge into a memory row
        beside = own.right & (own.cosine >= there.cosine)  # to merge into a task row; support examples already are
        self.add(q, numbers, there.row, near)
        place = own.row[:, size:].unsqueeze(2).expand_as(q[:, size:])
        keys = F.normalize(rows.keys.scatter_add(1, place, q[:, size:] * beside[:, size:].unsqueeze(2)), dim=-1)
        new = torch.cat([rows.written, ~(near | beside)[:, size:]], dim=1)
        self.replace(torch.cat([keys, q[:, size:]], dim=1), numbers, new)

    def add(self, q: Tensor, numbers: Tensor, row: Tensor, chosen: Tensor) -> None:
        """Merge the chosen q `[T, N, F]` into memory rows `row [T, N]`; the age of all other rows grows by one."""
        row, chosen = row.flatten(), chosen.flatten()
        sums = self.keys.index_add(0, row, q.flatten(0, 1) * chosen.unsqueeze(1))
        self.keys.copy_(F.normalize(sums, dim=-1))
        hits = torch.zeros_like(self.ages).index_add(0, row, chosen.long())
        self.ages.copy_(torch.where(hits > 0, 0, self.ages + 1))
        self.remember(numbers.flatten(), row, chosen)

    def replace(self, q: Tensor, numbers: Tensor, chosen: Tensor) -> None:
        """Replace the oldest rows by the chosen q `[T, N, F]`, at most as many as there are rows."""
        chosen, numbers = chosen.flatten(), numbers.flatten()
        count = min(len(chosen), len(self.ages))
        order = (~chosen).long().argsort(stable=True)[:count]  # chosen examples first
        oldest = self.ages.argsort(descending=True, stable=True)[:count]
        chosen, numbers = chosen[order], numbers[order]
        self.keys[oldest] = torch.where(chosen.unsqueeze(1), q.flatten(0, 1)[order], self.keys[oldest])
        self.values[oldest] = torch.where(chosen, numbers, self.values[oldest])
        self.ages[oldest] = torch.where(chosen, 0, self.ages[oldest])
        self.remember(numbers, oldest, chosen)

    def remember(self, numbers: Tensor, row: Tensor, chosen: Tensor) -> None:
        """Record the row last written for each class; the highest index if there are several."""
        to = torch.where(chosen, numbers, len(self.recent) - 1)
        self.recent.copy_(self.recent.scatter_reduce(0, to, row, "amax", include_self=False))


def search(keys: Tensor, q: Tensor, count: int, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """Cosines and rows `[B, count]` of the nearest keys `[R, F]` to each q `[B, F]`, nearest first."""
    best: list[tuple[Tensor, Tensor]] = []
    for start in range(0, len(keys), block):
        part = keys[start : start + block]
        cosine, row = (q @ part.mT).topk(min(count, len(part)), dim=1)
        best.append((cosine, row + start))
    if len(best) == 1:
        return best[0]
    cosines, rows = (torch.cat(parts, dim=1) for parts in zip(*best, strict=True))
    cosine, place = cosines.topk(count, dim=1)
    return cosine, rows.gather(1, place)


def find(q: Tensor, y: Tensor, rows: Rows) -> Found:
    """Look up q `[T, M, F]` with labels y among the rows of each task."""
    cosines = (q @ rows.keys.mT).masked_fill(~rows.written.unsqueeze(1), NOTHING)
    same = y.unsqueeze(2) == rows.labels.unsqueeze(1)
    cosine, row = cosines.max(2)
    right = same.take_along_dim(row.unsqueeze(2), 2).squeeze(2) & (cosine > NOTHING)
    keys = []
    for kind in (same, ~same):
        value, at = torch.where(kind, cosines, NOTHING).max(2, keepdim=True)
        keys.append(rows.keys.take_along_dim(at, 1) * (value > NOTHING))
    return Found(cosine, row, right, *keys)


def with_those_of(memory: Found, found: Found, rows: Rows) -> Rows:
    """Rows of each task, with the memory row in place of a support example that was merged into it."""
    count = rows.labels.shape[1]
    cosine, right, key = (part[:, :count] for part in (memory.cosine, memory.right, memory.right_key))
    away = right & (cosine > found.cosine)
    return Rows(torch.where(away.unsqueeze(2), key, rows.keys), rows.labels, rows.written | away)


def nearer(q: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The key with the greater cosine to q, of two, all `[..., F]`; a zero key means none."""
    first, second = ((q * key).sum(-1, keepdim=True).masked_fill(~key.any(-1, keepdim=True), NOTHING) for key in (a, b))
    return torch.where(first > second, a, b)
