"""An infinitely wide network as the inner learner: gradient flow under its neural tangent kernel, in closed form.

A ReLU network with L hidden layers f_l = √(σ_w²/n) W_l relu(f_{l-1}) + σ_b b_l of width n, all W and b trained from a
standard normal initialisation. As n → ∞ (Jacot, Gabriel, Hongler 2018, arXiv 1806.07572, theorem 1; Arora et al. 2019,
1904.11955, section 3), for features z of size F and θ = arccos ρ,

    Σ_0 = Θ_0 = σ_w² z·z' / F + σ_b²,    ρ = Σ_l(z, z') / √(Σ_l(z, z) Σ_l(z', z'))
    Σ_{l+1} = ½ σ_w² √(Σ_l(z, z) Σ_l(z', z')) κ₁(ρ) + σ_b²,    κ₁ = (sin θ + (π - θ) cos θ) / π
    Θ_{l+1} = Σ_{l+1} + Θ_l · ½ σ_w² κ₀(ρ),                    κ₀ = (π - θ) / π
    Θ = Σ_L π_L Θ_L        with several `depths`: the kernel of a sum of networks √π_L F_L; π is a softmax

Gradient flow on ½ ‖f - y‖² + ½ ν ‖weights - initial weights‖² over the support set up to time t, with
A = Θ(S, S) + ν I, gives a network whose expectation over its initial weights is

    f_t(x) = Θ(x, S) ψ_t y,   ψ_t = A⁻¹ (I - e^(-A t)),   ψ_∞ = A⁻¹

The loss is the query loss, differentiated through the closed form. σ_w², σ_b², ν, t (as their logarithms) and π are
meta-learned, as is the backbone, whose features are the inputs of the network. For classification, y are one-hot labels
minus their mean and the logits are s f_t, with s learned.

ψ_t is computed without an eigendecomposition, whose derivative is infinite at equal eigenvalues: doubling t is a Newton
step for the inverse, ψ_{2t} = ψ_t (2 I - A ψ_t), and a Taylor series gives the start at t / 2^40.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from metabench.algo.embedder import Embedder
from metabench.algo.r2d2 import positive_solve
from metabench.backbone.base import Backbone
from metabench.config.types import Positive, Widths
from metabench.objective import one_hot
from metabench.tasks import TaskSpec
from metabench.utils.precision import no_autocast

DOUBLINGS = 40  # of time; at 10^12 times the time constant of its fastest direction a flow has converged
TERMS = 6  # of the Taylor series of (1 - e^-x) / x; if x is not tiny, the Newton steps correct the remainder
COINCIDE = 16  # machine epsilons between a cosine and 1, up to which two inputs count as equal


class Fit(NamedTuple):
    """State of a task: support features `[T, N, F]` and coefficients ψ_t y `[T, N, O]`."""

    z: Tensor
    coefficients: Tensor


class NTK(Embedder):
    """Kernel regression with the neural tangent kernel; ways may differ between training and test."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        depths: Widths,
        weight_variance: Positive,
        bias_variance: Positive,
        noise: Positive,
        time: Positive | None,
        scale: Positive,
    ) -> None:
        super().__init__(spec, backbone)
        self.depths = depths
        self.log_weight = nn.Parameter(torch.tensor(math.log(weight_variance)))
        self.log_bias = nn.Parameter(torch.tensor(math.log(bias_variance)))
        self.log_noise = nn.Parameter(torch.tensor(math.log(noise)))
        self.log_time = None if time is None else nn.Parameter(torch.tensor(math.log(time)))
        self.shares = nn.Parameter(torch.zeros(len(depths))) if len(depths) > 1 else None
        self.scale = None if spec.objective == "mse" else nn.Parameter(torch.tensor(scale))

    def fit(self, z: Tensor, y: Tensor) -> Fit:
        """Coefficients ψ_t y, in 64 bits: small angles have half the digits of their cosines."""
        with no_autocast(z.device):
            z = z.double()
            if self.scale is None:
                target = y.double()
            else:
                target = one_hot(y, self.episode.outputs, z.dtype) - 1 / self.episode.outputs
            eye = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
            a = self.kernel(z, z, eye.bool()) + self.log_noise.exp() * eye
            return Fit(z, positive_solve(a, target) if self.log_time is None else flow(a, self.log_time.exp()) @ target)

    def read(self, state: Fit, z: Tensor) -> Tensor:
        """Predictions f_t, or logits s f_t, `[T, M, O]`."""
        with no_autocast(z.device):
            f = self.kernel(z.double(), state.z) @ state.coefficients
        return (f if self.scale is None else self.scale * f).to(self.log_noise.dtype)

    def kernel(self, a: Tensor, b: Tensor, equal: Tensor | None = None) -> Tensor:
        """Kernel Θ `[T, M, N]` of features a `[T, M, F]` and b `[T, N, F]`; `equal [M, N]` marks identical pairs."""
        weight, bias = self.log_weight.exp(), self.log_bias.exp()
        covariance = weight * (a @ b.mT) / a.shape[-1] + bias
        of_a, of_b = ((weight * x.square().mean(-1) + bias) for x in (a, b))
        tangent = covariance
        shares = [torch.ones_like(weight)] if self.shares is None else self.shares.softmax(0).unbind()
        mixed = torch.zeros_like(covariance)
        for depth in range(1, max(self.depths) + 1):
            norms = (of_a.unsqueeze(-1) * of_b.unsqueeze(-2)).sqrt()
            step, ramp = arc_cosines(covariance / norms, equal)
            covariance = weight / 2 * norms * ramp + bias
            tangent = covariance + tangent * (weight / 2) * step
            of_a, of_b = (weight / 2 * variance + bias for variance in (of_a, of_b))
            for own, share in zip(self.depths, shares, strict=True):
                if own == depth:
                    mixed = mixed + share * tangent
        return mixed


def arc_cosines(cosine: Tensor, equal: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Arc-cosine kernels κ₀ and κ₁ (Cho, Saul 2009) of cosines, 1 for `equal` inputs.

    The derivative of κ₀ is infinite for coinciding inputs; the gradient there is 0.
    """
    near = cosine.abs() > 1 - COINCIDE * torch.finfo(cosine.dtype).eps
    if equal is not None:
        near = near | equal
    inner = cosine.masked_fill(near, 0)
    angle = inner.acos()
    step = 1 - angle / math.pi
    ramp = (1 - inner.square()).sqrt() / math.pi + step * inner
    end = (cosine > 0).to(cosine.dtype)  # 0 for opposite inputs
    return torch.where(near, end, step), torch.where(near, end, ramp)


def flow(a: Tensor, time: Tensor) -> Tensor:
    """Compute ψ_t = a⁻¹ (I - e^(-a t)) for positive definite a `[..., N, N]` and a scalar time."""
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    most = 2.0**DOUBLINGS / a.diagonal(dim1=-2, dim2=-1).sum(-1)  # keeps the argument of the series below 1
    start = (time.minimum(most) / 2.0**DOUBLINGS)[..., None, None]
    x, series = -start * a, eye / math.factorial(TERMS)
    for k in range(TERMS - 1, 0, -1):  # Horner: Σ_k x^(k-1) / k!
        series = eye / math.factorial(k) + x @ series
    psi = start * series
    for _ in range(DOUBLINGS):
        psi = psi @ (2 * eye - a @ psi)
    return psi
