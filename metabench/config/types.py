"""Types of configured values: numbers with their bounds, and the base of every section.

An algorithm, a backbone or a data source annotates its keyword-only arguments with these, and with nothing else.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
LARGEST = 10**9  # so that the number of a task, a product of two counts, fits an int64


def _folder(text: str) -> str:
    if not text.strip() or not text.isprintable() or any(len(part.encode()) > 255 for part in Path(text).parts):
        raise ValueError("should be the path of a folder")
    return text


def _digits(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("should be a name for a folder: letters, digits and . _ -, at most 60, the first no sign")
    return text


Count = Annotated[int, Field(ge=1, le=LARGEST)]
Whole = Annotated[int, Field(ge=0, le=LARGEST)]
Ways = Annotated[int, Field(ge=2, le=LARGEST)]  # of a classification
Folder = Annotated[str, AfterValidator(_folder)]
Name = Annotated[str, BeforeValidator(_digits), AfterValidator(_name)]  # of a run
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # torch and numpy fold or refuse larger ones
Widths = Annotated[list[Count], Field(min_length=1)]  # of the layers of a perceptron
Node = dict[str, Any]

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class Section(BaseModel):
    """A part of the configuration: no unknown keys, no silent conversions, no changes."""

    model_config = STRICT
