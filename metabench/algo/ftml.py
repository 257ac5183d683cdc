"""Follow the meta leader (Finn, Rajeswaran, Kakade, Levine, ICML 2019, arXiv 1902.08438).

Tasks f_1, f_2, … come one after the other. In round t the learner has w_t, is given data of the task, makes
U_t(w_t) of them, here some steps of gradient descent, and suffers f_t(U_t(w_t)). It follows the leader

    w_{t+1} = argmin_w Σ_{k≤t} f_k(U_k(w)),   U_k(w) = w - α ∇ f̂_k(w)

as the paper does in practice: with every example that comes, some meta-steps of MAML on tasks drawn uniformly from the
buffer of those that have come (`metabench.data.online`), then the update procedure on the present task's examples.
"""

from __future__ import annotations

from metabench.algo.maml import MAML


class FTML(MAML):
    """MAML's meta-step and inner loop, on the tasks of a stream."""

    settings = ("online",)
