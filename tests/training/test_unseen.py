"""No test is of classes that its model was trained on: in any kind of images, or by the run that it begins with."""

from __future__ import annotations

from typing import Any

import pytest
from image_sets import write, write_csv
from made_runs import write_run
from program import run_metabench

from metabench.config.build import component
from metabench.config.compose import compose_plain
from metabench.data.base import TaskSource
from metabench.errors import ConfigError
from metabench.training.unseen import check_unseen, trainings

OWN = ("algo=protonet", "data=images", "data.ways=3", "data.queries=3", "data.size=16")


def check(trained: dict[str, Any], tested: dict[str, Any]) -> None:
    check_unseen(trainings(trained), component(tested["data"], TaskSource, "data"))


def test_images_of_ones_own_in_other_splits(tmp_path):
    write(tmp_path / "birds")
    write(tmp_path / "others")
    trained = compose_plain(*OWN, f"data.root={tmp_path}/birds")
    check(trained, trained)
    check(trained, compose_plain(*OWN, f"data.root={tmp_path}/others", "data.holdout.test=0.6"))
    for root in ("birds", "others/../birds"):
        wider = compose_plain(*OWN, f"data.root={tmp_path}/{root}", "data.holdout.test=0.6")
        with pytest.raises(ConfigError, match=r"data=ImageFolder: the model was trained on 6 of the 9 classes"):
            check(trained, wider)
    check({**trained, "train": {"steps": 0}}, wider)


def test_published_sets_that_are_made_of_the_same_images(tmp_path):
    """As miniImageNet and tieredImageNet are, and CIFAR-FS and FC100: the same names, in other splits."""
    write_csv(tmp_path / "one")
    write_csv(tmp_path / "two")
    (tmp_path / "two/train.csv").rename(tmp_path / "two/spare")
    (tmp_path / "two/test.csv").rename(tmp_path / "two/train.csv")
    (tmp_path / "two/spare").rename(tmp_path / "two/test.csv")
    mini, tiered = (
        compose_plain("algo=protonet", f"data={name}", f"data.root={tmp_path}/{root}", "data.split_files=null")
        for name, root in (("mini_imagenet", "one"), ("tiered_imagenet", "two"))
    )
    check(mini, mini)
    with pytest.raises(ConfigError, match="the model was trained on 9 of the 9 classes"):
        check(mini, tiered)


def test_the_run_that_a_training_begins_with(tmp_path):
    first = write_run(tmp_path / "first", "data=omniglot", "algo=protonet", metric="accuracy")
    other = compose_plain("data=omniglot", "algo=protonet", "data.split=lake", f"init={first}")
    with pytest.raises(ConfigError, match=r"data\.split=lake: the model was trained on 236 of the 659 classes"):
        check({**other, "train": {"steps": 0}}, other)
    check(compose_plain("data=omniglot", "algo=protonet", f"init={first}"), compose_plain("data=omniglot"))
    second = write_run(tmp_path / "second", "data=sinusoid", "algo=maml", f"init={first}")
    with pytest.raises(ConfigError, match="trained on 236"):
        check(compose_plain("algo=protonet", f"init={second}"), other)
    done = run_metabench("algo=protonet", "data=omniglot", "data.split=lake", f"init={first}", cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "data.split=lake: the model was trained on 236 of the 659 classes" in done.err
