"""Follow the meta leader (Finn, Rajeswaran, Kakade, Levine, ICML 2019, arXiv 1902.08438).

Tasks f_1, f_2, … arrive in sequence. In round t the learner adapts w_t to data of the task by an update procedure U_t,
here some steps of gradient descent, and incurs the loss f_t(U_t(w_t)). It follows the leader

    w_{t+1} = argmin_w Σ_{k≤t} f_k(U_k(w)),   U_k(w) = w - α ∇ f̂_k(w)

approximately, as in the paper: at every new example, some meta-steps of MAML on tasks sampled uniformly from the buffer
of past tasks (`metabench.data.online`), then the update procedure on the examples of the current task.
"""

from __future__ import annotations

from metabench.algo.maml import MAML


class FTML(MAML, rowwise=True):
    """MAML's meta-step and inner loop on a stream of tasks."""

    settings = ("online",)
