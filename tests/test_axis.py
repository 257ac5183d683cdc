"""What a checkpoint is selected by: the last column of an evaluation, or of streams the mean over all but the first."""

from __future__ import annotations

import pytest
import torch

from metabench.axis import INNER_STEPS, INSTANCES, SHOTS


@pytest.mark.parametrize(
    ("axis", "columns", "selection"),
    [
        (INSTANCES, 10, range(2, 11)),
        (INSTANCES, 2, range(2, 3)),
        (INSTANCES, 1, range(1, 2)),  # there is no other
        (INNER_STEPS, 1, range(1)),
        (INNER_STEPS, 6, range(5, 6)),
        (SHOTS, 3, range(3, 4)),
    ],
    ids=lambda value: getattr(value, "picture", None),
)
def test_a_checkpoint_is_selected_by_the_last_column_or_the_mean_of_later_instances(axis, columns, selection):
    values = torch.rand(7, columns)
    assert axis.selection(columns) == selection
    expected = values[:, selection[0] - axis.first : selection[-1] - axis.first + 1].double().mean(1)
    assert torch.equal(axis.selecting(values), expected)


def test_one_good_instance_does_not_select():
    """Who counts is best at the last instance of a class, and who binds at the second already."""
    counting, binding = torch.tensor([[0.46, 0.31, 0.28, 0.33]]), torch.tensor([[0.30, 0.50, 0.40, 0.32]])
    assert INSTANCES.selecting(binding) > INSTANCES.selecting(counting)
