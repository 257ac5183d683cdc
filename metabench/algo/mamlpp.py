"""MAML++ (Antoniou, Edwards, Storkey, ICLR 2019, arXiv 1810.09502): changes to MAML training, each with a switch.

With S inner steps, and e the fraction of the `msl_steps` meta-steps completed:

    MSL      outer loss Σ_s v_s L_Q(θ'_s);   v_s = max(1 - e, 0.03) / S for s < S while e < 1, then 0;   Σ_s v_s = 1
    LSLR     θ'_{s+1} = θ'_s - (α/α₀) a_{l,s} ∇_l L_S(θ'_s): learned for each tensor l and inner step s, a from α₀ = 0.1
    BNWB     scale and shift of normalisations are learned for each inner step, and not adapted in the inner loop
    BNRS     running statistics, where a backbone keeps them, are kept for each inner step
    DA       inner gradients are constants in the first `first_order_steps` meta-steps
    CA       cosine annealing of the outer learning rate: train.schedule=cosine

Queries after s steps use the normalisation of step s - 1, as in the authors' code, whose configurations always use
batch statistics (no BNRS) and second derivatives from the start (no DA). The authors' step sizes start at α = α₀; with
another α, Adam's steps here are the same fraction of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metabench.algo.fast_weights import Weights
from metabench.algo.maml import MAML
from metabench.backbone.base import Backbone
from metabench.backbone.norm import Norm
from metabench.config.types import Count, Positive, Whole
from metabench.tasks import Examples, Metrics, Tasks, TaskSpec

ALPHA = 0.1  # α₀, from which the authors' step sizes start
LEAST = 0.03  # least weight of steps before the last while e < 1, relative to their first


class MAMLPlusPlus(MAML, rowwise=True):
    """MAML with multi-step loss, learned step sizes, per-step normalisation and derivative-order annealing."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        inner_lr: Positive,
        inner_steps: Count,
        eval_inner_steps: Whole,
        msl_steps: Whole,
        lslr: bool,
        per_step_norm: bool,
        first_order_steps: Whole,
    ) -> None:
        super().__init__(
            spec,
            backbone,
            inner_lr=inner_lr,
            inner_steps=inner_steps,
            eval_inner_steps=eval_inner_steps,
            adapt_norm=False,
        )
        self.msl_steps, self.first_order_steps = msl_steps, first_order_steps
        self.meta_steps: Tensor
        self.register_buffer("meta_steps", torch.zeros(()))
        rates = len(self.adapted()) if lslr else 0
        self.rates = nn.ParameterList(torch.full((inner_steps,), ALPHA) for _ in range(rates))
        self.norms, self.norm_names = nn.ParameterList(), list[str]()
        self.statistic_names: list[str] = []
        if per_step_norm:
            self._divide_norms()

    def _divide_norms(self) -> None:
        """Give every inner step its own normalisation; the network's is no longer used."""
        for layer, norm in self.network.named_modules():
            if not isinstance(norm, Norm):
                continue
            for name, p in norm.named_parameters():
                self.norm_names.append(f"{layer}.{name}")
                self.norms.append(nn.Parameter(p.detach().repeat(self.inner_steps, 1)))
                p.requires_grad_(False)
            for name, b in norm.named_buffers():
                self.register_buffer(f"statistics_{len(self.statistic_names)}", b.repeat(self.inner_steps, 1))
                self.statistic_names.append(f"{layer}.{name}")

    def norm_at(self, step: int) -> Weights:
        """The normalisation of inner step `step` (from 0); steps beyond those of training use the last."""
        step = min(step, self.inner_steps - 1)
        statistics = (self.get_buffer(f"statistics_{i}")[step] for i in range(len(self.statistic_names)))
        learned = (p[step] for p in self.norms)
        return dict(zip([*self.norm_names, *self.statistic_names], [*learned, *statistics], strict=True))

    def advance(self, fast: Weights, z: Tensor, y: Tensor, step: int) -> Weights:
        """θ' - α_s ∘ ∇ L_S(θ'), under the normalisation of the step."""
        gradient = self.gradient(fast, z, y, fixed=self.norm_at(step))
        if self.first_order_steps and torch.is_grad_enabled():
            second = (self.meta_steps + 0.5 > self.first_order_steps).to(z.dtype)  # 0, then 1
            gradient = {name: g.detach().lerp(g, second) for name, g in gradient.items()}
        if not self.rates:
            return self.descend(fast, gradient)
        rates = [self.inner_lr / ALPHA * rate[min(step, self.inner_steps - 1)] for rate in self.rates]
        return {name: w - rate * gradient[name] for (name, w), rate in zip(fast.items(), rates, strict=True)}

    def read_query(self, fast: Weights, z: Tensor, step: int) -> Tensor:
        """Predictions `[T, M, O]` on embedded queries after `step` inner steps."""
        return self.read({**fast, **self.norm_at(max(step - 1, 0))}, z)

    def predict(self, state: Weights, x: Tensor) -> Tensor:
        """The network under the fast weights and the normalisation of the last step."""
        return self.read_query(state, self.embed(x), self.steps)

    def outputs(self, support: Examples, x: Tensor) -> list[Tensor]:
        """Predictions after each inner step 0..S."""
        z = self.embed(x)
        return [self.read_query(fast, z, step) for step, fast in enumerate(self.trajectory(support))]

    def shares(self) -> Tensor:
        """Loss weights v_1 .. v_S, `[S]`, of as many inner steps as are taken."""
        over = (self.meta_steps / self.msl_steps) if self.msl_steps else torch.ones_like(self.meta_steps)
        early = (1 - over).clamp_min(LEAST) / self.steps * (self.meta_steps + 0.5 < self.msl_steps)
        last = 1 - (self.steps - 1) * early
        return torch.cat([early.expand(self.steps - 1), last.view(1)])

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The multi-step loss; the metrics are those after the last step."""
        x, y = tasks.query
        if self.msl_steps:
            predictions = self.outputs(tasks.support, x)[1:]
            losses = torch.stack([self.objective.loss(prediction, y) for prediction in predictions])
            loss, last, prediction = self.shares().to(losses.dtype) @ losses, losses[-1], predictions[-1]
        else:
            prediction = self.solve(tasks.support, x)
            loss = last = self.objective.loss(prediction, y)
        if self.training:
            self.meta_steps.add_(1)
        return loss.mean(), self.metrics(last, prediction, y)
