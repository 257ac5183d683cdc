"""The colours of lines and classes, in pictures and on pages: after Okabe & Ito, told apart by every eye.

Hues are those of Okabe & Ito (2008), darkened or lightened until each stands out from the paper behind it.
"""

from __future__ import annotations

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b65a92", "#b08a00", "#3a9bd0", "#6b4fa0", "#59626d")  # on white
ON_DARK = ("#4ca9e0", "#ff9150", "#35c79a", "#e08fc0", "#e2c23c", "#8fd0f5", "#b39ae6", "#aab4bf")  # the same
