"""A count and its noun in words."""

from __future__ import annotations


def counted(count: int, noun: str, many: str = "") -> str:
    """`1 task`, `2 tasks`, `10,000 tasks`; `many` is the plural of a noun that takes more than an s."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
