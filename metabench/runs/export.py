"""The chosen weights of a run as safetensors, with a card beside that says what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from metabench.errors import UserError
from metabench.runs.reader import RunReader
from metabench.runs.run_dir import load_best
from metabench.utils.console import format_metric, inline
from metabench.utils.counted import counted
from metabench.utils.files import DamagedError, write_bytes, write_json

SUFFIX = ".safetensors"


def export(run: RunReader, output: Path) -> list[Path]:
    """Write the weights that validation chose to `output`, and its card to NAME.json and NAME.md beside.

    Raises `UserError` for a run that is not finished, holds no checkpoint, or cannot be read.
    """
    from safetensors.torch import save

    if output.suffix != SUFFIX:
        raise UserError(f"--output {output}: should end in {SUFFIX}")
    try:
        card = _card(run)
        chosen = load_best(run.path)
    except DamagedError as fault:
        raise UserError(f"{run.path}: {fault}") from None
    tensors = {name: tensor.contiguous().clone() for name, tensor in chosen["algo"].items()}
    named = {"format": "pt", "run": card["run"], "protocol": card["protocol"]["hash"]}
    content = save(tensors, metadata=named)
    card["weights"] = {
        "file": output.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "meta_step": chosen.get("step"),
        "tensors": len(tensors),
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
    }
    write_bytes(output, content)
    written = files(output)
    write_json(written[1], card)
    write_bytes(written[2], _page(card).encode())
    return written


def files(output: Path) -> list[Path]:
    """The files that are written: the weights, the card and the page."""
    return [output, output.with_suffix(".json"), output.with_suffix(".md")]


def _card(run: RunReader) -> dict[str, Any]:
    """The settings that decide the weights, and what they reached, as plain values."""
    summary = run.summary
    result = summary.test.modes[summary.test.prediction]
    return {
        "run": summary.identity,
        "experiment": summary.experiment,
        "algo": run.config["algo"]["_target_"],
        "backbone": run.config["backbone"]["_target_"],
        "test": {
            "metric": summary.test.metric,
            "mean": result.mean,
            "ci95": result.ci95,
            "episodes": result.episodes,
            "prediction": summary.test.prediction,
        },
        "protocol": summary.protocol.model_dump(),
        "environment": summary.environment.model_dump(),
        "config": run.config,
    }


def _page(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    weights, test = card["weights"], card["test"]
    rows = {
        "test": f"{test['metric']} {format_metric(test['metric'], test['mean'], test['ci95'])}"
        f" ({counted(test['episodes'], 'task')}, {test['prediction']})",
        "algorithm": card["algo"],
        "backbone": card["backbone"],
        "weights": f"{weights['tensors']} tensors, {weights['parameters']:,} values, meta-step {weights['meta_step']}",
        "sha256": weights["sha256"],
        "run": card["run"],
        "command": card["environment"]["command"],
        "versions": inline(card["environment"]["versions"]),
        "protocol": card["protocol"]["hash"],
        **{f"test.{key}": inline(value) for key, value in card["protocol"]["test"].items()},
        **{f"training.{key}": inline(value) for key, value in card["protocol"]["training"].items()},
    }
    table = "\n".join(f"| {key} | {str(value).replace('|', chr(92) + '|')} |" for key, value in rows.items())
    name = card["experiment"] or card["algo"].rpartition(".")[2]
    return f"""# {name}

| | |
|---|---|
{table}

```python
from safetensors.torch import load_file

weights = load_file("{weights["file"]}")  # the state of the algorithm, its backbone included
```

`{Path(weights["file"]).with_suffix(".json")}` has the whole configuration and protocol card.
"""
