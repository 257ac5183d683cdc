"""A quick start: not importing torch's compiler, which takes a second, where it is not used."""

from __future__ import annotations

from typing import Any

import torch


def skip_dynamo_import() -> None:
    """Let seeding and optimisers run without torch._dynamo; see `untraced`."""
    for function in (torch.manual_seed, *vars(torch.optim.Optimizer).values()):
        untraced(function)


def plain_step(cls: type[torch.optim.Optimizer]) -> Any:
    """The `step` of an optimiser class without what only the compiler and the profiler need: imports, hooks, marks."""
    step: Any = torch.no_grad()(getattr(cls.step, "__wrapped__", cls.step))
    step.hooked = True
    return step


def untraced(wrapper: Any) -> None:
    """Let a function that torch keeps its compiler from tracing run before torch._dynamo is imported.

    Torch wraps such a function so that its first call imports the compiler, unless it finds on the function what the
    import would have made. Nothing here traces them: `engine=compile` records what is below them. Where another
    version of torch does this otherwise, nothing happens.
    """
    function = getattr(wrapper, "__wrapped__", None)
    if function is not None and not hasattr(function, "__dynamo_disable"):
        function.__dynamo_disable = function
