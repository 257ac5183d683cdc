"""Algorithms on data, as the contract and the engines are tested on them."""

from __future__ import annotations

from collections.abc import Container, Iterable

import pytest
from build import pairs

VARIANTS = [
    ("maml", "glyphs", "backbone.pool=max", "backbone.statistics=running", "algo.adapt_norm=true"),
    ("maml", "glyphs", "backbone=mlp_omniglot"),
    ("anil", "glyphs", "backbone.norm=group", "backbone.filters=16"),
    ("reptile", "glyphs", "backbone.statistics=running"),
    ("protonet", "glyphs", "algo.distance=cosine", "backbone.statistics=batch"),
    ("matchingnet", "glyphs", "algo.fce=true", "backbone.statistics=batch"),
    ("pretrain", "glyphs", "algo.finetune=all"),
    ("mamlpp", "glyphs", "backbone.statistics=running"),
    ("imaml", "sinusoid", "algo.variant=released"),
    ("snail", "glyphs", "backbone.statistics=batch"),
    ("protonet", "glyphs", "backbone.statistics=pooled"),
    ("relationnet", "glyphs", "backbone.statistics=pooled"),
    ("metalstm", "sinusoid", "algo.start=published"),
    ("metalstm", "sinusoid", "algo.first_order=true"),
    ("alfa", "sinusoid", "algo.start=released"),
    ("mtnet", "glyphs", "algo.mask=false"),
    ("mmaml", "sinusoid", "algo.aggregator=mean", "algo.inner_clip=null"),
    ("hypernet", "sinusoid", "algo.aggregator=attention"),
    ("hypernet", "sinusoid", "algo.generates=film", "algo.aggregator=gru"),
    ("hypernet", "sinusoid", "algo.generates=head"),
    ("hypernet", "glyphs", "algo.aggregator=gru", "backbone.statistics=batch"),
    ("hypernet", "glyphs", "algo.generates=film", "algo.aggregator=attention"),
    ("hypernet", "glyphs", "algo.generates=weights"),
    ("learnedupdate", "sinusoid", "algo.memory=addressed"),
    ("ntk", "sinusoid", "algo.time=1.0"),
    ("ntk", "glyphs", "algo.time=0.3", "algo.depths=[2]"),
    ("gp", "gp_curves"),
]
CASES = [*pairs(), *VARIANTS]
ONE_OF_EACH_FAMILY = {"baseline", "learnedupdate", "leo", "maml", "np", "protonet", "relationnet", "snail"}
NOT_TRAINED = {"scratch", "pixelnn", "gp"}  # baselines that never meet a training task


def over(cases: Iterable[tuple[str, ...]], quick: Container[str] | None = None) -> pytest.MarkDecorator:
    """One test for each `case`; of the cases of an algorithm all but the first are among the slow ones.

    With `quick`, all cases of other algorithms too: for what rests on a mechanism that all of them share.
    """
    cases = list(cases)
    first = {case[0]: case for case in reversed(cases) if quick is None or case[0] in quick}
    marked = [pytest.param(case, marks=[] if case in first.values() else [pytest.mark.slow]) for case in cases]
    return pytest.mark.parametrize("case", marked, ids=map("-".join, cases))
