"""Life-long memory module (Kaiser, Nachum, Roy, Bengio, ICLR 2017, "Learning to remember rare events", 1703.03129).

A memory of rows (key K_i, value V_i, age A_i) that outlives tasks. For an example x of class v, with q = k / ‖k‖ and
k = W f(x), and its nearest rows by cosine n_1, n_2, …,

    n_p = the first with V = v,  n_b = the first with V ≠ v
    loss = [q · K_{n_b} - q · K_{n_p} + margin]_+
    if V_{n_1} = v:   K_{n_1} ← (q + K_{n_1}) / ‖q + K_{n_1}‖,  A_{n_1} ← 0
    else:             the oldest row ← (q, v, 0)
    A_i ← A_i + 1 elsewhere

Keys are constants to the gradient. The row last written for v is looked at too, as in the authors' code. The search is
one matrix product and a top-k for each block of rows; the two keys that the loss needs are gathered, no other.

Two things differ. k is batch-normalised, without a learned shift: the nearest of thousands of wrong rows is nearer than
the right one for long, and without it all keys become one, at which the loss is the margin. And where v has no row yet
there is no loss; the authors' code takes q · K_{n_p} for 0 there, which drives every first example from all others.

Values outlive a task, so in training they are the numbers of its classes (`truth["classes"]`), which labels, permuted
in every task, are not. A meta-step takes tasks side by side: each sees the memory as it was before the step and its own
rows, which its support examples write one after the other; its queries come together. All of them enter the memory at
the end of the step: additions to one row are summed, then normalised, and new rows take the oldest places. So its
company does not change what a task finds. What is left is no mean of what each task alone would leave, though; hence
`coupled`: a meta-step is neither taken in parts nor shared out.

In evaluation nothing is written that lasts: a support set makes rows of its own beside the memory, whose classes are
others; an example that is nearer to one of those than to the row of its own class makes a new row. A query may name the
classes of its task, whose logits are the cosines of their nearest rows times log(k / 5) / margin, the authors' factor.
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

BLOCK = 1 << 16  # rows searched at once: what is held is a number for each of them and example
NOTHING = -2.0  # less than any cosine


class Rows(NamedTuple):
    """The rows that a task has written itself: keys `[T, N, F]`, labels `[T, N]`, and which there are `[T, N]`."""

    keys: Tensor
    labels: Tensor
    written: Tensor


class Found(NamedTuple):
    """What a look-up finds for examples `[...]`: the nearest row, and the keys that the loss compares."""

    cosine: Tensor  # of the nearest row `[...]`
    row: Tensor  # its number
    right: Tensor  # whether its value is the example's
    right_key: Tensor  # of the nearest row of that value `[..., F]`; 0 where there is none
    wrong_key: Tensor  # of the nearest row of another


class MemoryModule(Embedder):
    """The state is what a support set writes; any number of ways at test, whatever the number in training."""

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
            raise ConfigError("algo", type(self).__name__, "remembers classes, which this data does not number")
        self.neighbours, self.margin = min(neighbours, memory_size), margin
        self.temperature = max(1.0, math.log(0.2 * self.neighbours) / margin)
        self.project = Linear(backbone.feature_size, key_size)
        self.norm = BatchNorm(key_size, scale=False, eps=1e-5, statistics=kept_statistics(backbone))
        self.norm.bias.requires_grad_(False)
        self.register_buffer("keys", torch.zeros(memory_size, key_size))
        self.register_buffer("values", torch.full((memory_size,), -1))  # nobody's
        self.register_buffer("ages", torch.zeros(memory_size, dtype=torch.long))
        self.register_buffer("recent", torch.zeros(spec.num_classes + 1, dtype=torch.long))  # a last one for no class
        self.keys: Tensor
        self.values: Tensor
        self.ages: Tensor
        self.recent: Tensor

    @property
    def coupled(self) -> str:
        """All tasks of a meta-step write into one memory."""
        return "algo=memorymodule writes those of all tasks of a meta-step at once"

    # ---- a task by itself

    def fit(self, z: Tensor, y: Tensor) -> Rows:
        """What the support set writes beside the memory."""
        with torch.no_grad():
            q = self.queries(z)
            near, _ = search(self.keys, q.flatten(0, 1), 1)
            return self.write(q, y, near.view(y.shape), torch.zeros_like(y, dtype=torch.bool))[0]

    def read(self, state: Rows, z: Tensor) -> Tensor:
        """The cosine of the nearest row of each class, sharpened."""
        return self.logits(state, self.queries(z))

    def queries(self, z: Tensor) -> Tensor:
        """q of embeddings; never in less than 32 bits."""
        with torch.autocast(z.device.type, enabled=False):
            k = self.project(z.to(self.keys.dtype))
            return F.normalize(self.norm(k.transpose(0, 1)).transpose(0, 1), dim=-1)

    def logits(self, rows: Rows, q: Tensor) -> Tensor:
        """`[T, M, ways]` of q `[T, M, F]`."""
        onehot = one_hot(rows.labels, self.episode.outputs, q.dtype) * rows.written.unsqueeze(-1)
        return self.temperature * nearest(q @ rows.keys.mT, onehot)

    def write(self, q: Tensor, y: Tensor, cosine: Tensor, right: Tensor) -> tuple[Rows, Found]:
        """Examples q `[T, N, F]` with labels y one after the other, and what each found among the rows before it.

        `cosine` and `right` `[T, N]` are those of its nearest row in the memory, into which it goes where that is
        nearer than all of the task's own and right. A row here has the number of the example that began it.
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
            key = F.normalize(q[:, j : j + 1] + old, dim=-1)  # an unwritten row is 0
            keys = keys.scatter(1, row.unsqueeze(2).expand_as(key), torch.where(away[:, None, None], old, key))
            written = written.scatter(1, row, ~away.unsqueeze(1) | written.take_along_dim(row, 1))
            found.append(seen)
        return Rows(keys, y, written), Found(*(torch.cat(parts, dim=1) for parts in zip(*found, strict=True)))

    # ---- training

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The margin loss of every example, support and query alike; the metrics' accuracy is that of queries."""
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
        with torch.autocast(q.device.type, enabled=False):
            excess = (q * (wrong_key - right_key)).sum(-1) + self.margin
            loss = (F.relu(excess) * right_key.any(-1)).mean(1)
            prediction = self.logits(rows, q[:, size:])
        if self.training:
            with torch.no_grad():
                self.keep(q.detach(), numbers, rows, there, own)
        return loss.mean(), self.metrics(loss, prediction, query.y)

    def look_up(self, q: Tensor, numbers: Tensor) -> Found:
        """What the memory has for q `[T, N, F]` of classes `numbers [T, N]`."""
        flat, value = q.flatten(0, 1), numbers.flatten().unsqueeze(1)
        cosine, row = search(self.keys, flat, self.neighbours)
        right = self.values[row] == value
        recent = self.recent[value]
        known = torch.cat([right, self.values[recent] == value], dim=1)
        place = known.long().argmax(1, keepdim=True)  # the first: rows come by their cosine, the recent one last
        right_row = torch.cat([row, recent], dim=1).gather(1, place)
        wrong_row = row.gather(1, (~right).long().argmax(1, keepdim=True))
        right_key = self.keys[right_row.squeeze(1)] * known.any(1, keepdim=True)
        wrong_key = self.keys[wrong_row.squeeze(1)] * (~right).any(1, keepdim=True)
        found = (cosine[:, 0], row[:, 0], right[:, 0], right_key, wrong_key)
        return Found(*(part.unflatten(0, numbers.shape) for part in found))

    def keep(self, q: Tensor, numbers: Tensor, rows: Rows, there: Found, own: Found) -> None:
        """What a meta-step leaves: its examples q `[T, N + M, F]`, of which the tasks' own `rows` hold the first N."""
        size = rows.labels.shape[1]
        near = there.right & (there.cosine > own.cosine)  # is in a row of the memory from now on
        beside = own.right & (own.cosine >= there.cosine)  # in one of the task's own, as the first N are already
        self.add(q, numbers, there.row, near)
        place = own.row[:, size:].unsqueeze(2).expand_as(q[:, size:])
        keys = F.normalize(rows.keys.scatter_add(1, place, q[:, size:] * beside[:, size:].unsqueeze(2)), dim=-1)
        new = torch.cat([rows.written, ~(near | beside)[:, size:]], dim=1)
        self.replace(torch.cat([keys, q[:, size:]], dim=1), numbers, new)

    def add(self, q: Tensor, numbers: Tensor, row: Tensor, chosen: Tensor) -> None:
        """Add the chosen of q `[T, N, F]` to the memory's rows of those numbers; everything else grows older."""
        row, chosen = row.flatten(), chosen.flatten()
        sums = self.keys.index_add(0, row, q.flatten(0, 1) * chosen.unsqueeze(1))
        self.keys.copy_(F.normalize(sums, dim=-1))
        hits = torch.zeros_like(self.ages).index_add(0, row, chosen.long())
        self.ages.copy_(torch.where(hits > 0, 0, self.ages + 1))
        self.remember(numbers.flatten(), row, chosen)

    def replace(self, q: Tensor, numbers: Tensor, chosen: Tensor) -> None:
        """Write the chosen of q `[T, N, F]` over the oldest rows, the first of equals; as many as there are rows."""
        chosen, numbers = chosen.flatten(), numbers.flatten()
        count = min(len(chosen), len(self.ages))
        order = (~chosen).long().argsort(stable=True)[:count]  # the chosen first
        oldest = self.ages.argsort(descending=True, stable=True)[:count]
        chosen, numbers = chosen[order], numbers[order]
        self.keys[oldest] = torch.where(chosen.unsqueeze(1), q.flatten(0, 1)[order], self.keys[oldest])
        self.values[oldest] = torch.where(chosen, numbers, self.values[oldest])
        self.ages[oldest] = torch.where(chosen, 0, self.ages[oldest])
        self.remember(numbers, oldest, chosen)

    def remember(self, numbers: Tensor, row: Tensor, chosen: Tensor) -> None:
        """The row of each chosen example as its class's last; the highest row where there are several."""
        to = torch.where(chosen, numbers, len(self.recent) - 1)
        self.recent.copy_(self.recent.scatter_reduce(0, to, row, "amax", include_self=False))


def search(keys: Tensor, q: Tensor, count: int, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """Cosines `[B, count]` and rows of the nearest of many keys `[R, F]` to each of q `[B, F]`, nearest first."""
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
    """What each of q `[T, M, F]` with labels y finds among its task's own rows."""
    cosines = (q @ rows.keys.mT).masked_fill(~rows.written.unsqueeze(1), NOTHING)
    same = y.unsqueeze(2) == rows.labels.unsqueeze(1)
    cosine, row = cosines.max(2)
    right = same.take_along_dim(row.unsqueeze(2), 2).squeeze(2) & (cosine > NOTHING)
    keys = []
    for kind in (same, ~same):
        value, at = torch.where(kind, cosines, NOTHING).max(2, keepdim=True)
        keys.append(rows.keys.take_along_dim(at, 1) * (value > NOTHING))
    return Found(cosine, row, right, *keys)


def nearer(q: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Of two keys for each of q, all `[..., F]`, that of the greater cosine; a key of 0 is none."""
    first, second = ((q * key).sum(-1, keepdim=True).masked_fill(~key.any(-1, keepdim=True), NOTHING) for key in (a, b))
    return torch.where(first > second, a, b)
