"""Follow the leader: joint training on earlier tasks, and plain fine-tuning on the present one."""

from __future__ import annotations

import torch
from build import build, composed, small
from references import LOSS, Plain, each


def test_the_loss_is_that_of_the_pooled_examples():
    setup = build(*small("ftl", "sinusoid_online"), dtype=torch.float64)
    tasks = setup.tasks()
    x, y = (torch.cat(parts, dim=1) for parts in zip(tasks.support, tasks.query, strict=True))
    found, _ = setup.algo(tasks)
    net = Plain(setup.algo.network)
    expected = LOSS["mse"](net(x.flatten(0, 1)), y.flatten(0, 1))
    torch.testing.assert_close(found, expected)


def test_the_present_task_is_for_fine_tuning_alone():
    for data in ("sinusoid_online", "glyphs_online", "omniglot_online"):
        present = {algo: composed(f"algo={algo}", f"data={data}").data["online"]["present"] for algo in ("ftl", "ftml")}
        assert present == {"ftl": False, "ftml": True}


def test_fine_tuning_is_plain_sgd_from_the_leader():
    setup = build(*small("ftl", "sinusoid_online"), "algo.inner_lr=0.05", dtype=torch.float64)
    setup.train(3)
    setup.algo.eval()
    tasks = setup.tasks("test")
    with torch.no_grad():
        found = setup.algo.solve(tasks.support, tasks.query.x)
    for task, (x, y, query_x, _) in enumerate(each(tasks)):
        net = Plain(setup.algo.network).requires_grad_()
        sgd = torch.optim.SGD(net.parameters(), lr=0.05)
        for _ in range(setup.algo.eval_inner_steps):
            net.zero_grad()
            LOSS["mse"](net(x), y).backward()
            sgd.step()
        torch.testing.assert_close(net(query_x).detach(), found[task], rtol=1e-9, atol=1e-9)
