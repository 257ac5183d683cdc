"""First-order MAML (Finn et al. 2017, section 5.2; Nichol, Achiam, Schulman 2018, arXiv 1803.02999).

MAML with the inner gradients taken as constants: the outer gradient is ∇ L_Q at θ'_J, applied to θ.
"""

from __future__ import annotations

from metabench.algo.maml import MAML


class FOMAML(MAML, rowwise=True, gives_support=True):
    """MAML without second derivatives; fast weights still carry the identity path to θ."""

    first_order = True
