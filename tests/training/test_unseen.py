"""No test is of classes that its model was trained on: in any kind of images, or by the run that it begins with."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from image_sets import write, write_csv
from made_runs import write_run
from program import run_metabench

from metabench.config.build import component
from metabench.config.compose import compose_plain
from metabench.data.base import TaskSource
from metabench.errors import ConfigError
from metabench.runs.reader import RunReader
from metabench.training.unseen import check_unseen, class_names, trainings

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


def test_a_folder_that_has_grown_since_the_training(tmp_path):
    """All names in the folder decide which classes are held out: with more classes it may be others."""
    write(tmp_path / "birds", range(9))
    short = ("train.steps=2", "validate.every=1", "validate.episodes=4", "test.episodes=4", "train.tasks=2")
    command = (*OWN, f"data.root={tmp_path}/birds", *short, "data.ways=2", "data.train.ways=2", "backbone.filters=4")
    assert run_metabench(*command, "run_dir=run", cwd=tmp_path).code == 0
    folders = [path.name for path in sorted((tmp_path / "birds").iterdir())]
    trained = RunReader(tmp_path / "run").training_classes
    assert trained < {str(tmp_path / "birds" / name) for name in folders}
    for number in sorted(range(9, 26), key=lambda n: sha256(f"bird {n:02d}".encode()).digest(), reverse=True):
        write(tmp_path / "birds", range(number, number + 1))
        tested = class_names(component(RunReader(tmp_path / "run").config["data"], TaskSource, "data"), "test")
        if common := tested & trained:
            break
    done = run_metabench("test", "run", cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    said = f"the model was trained on {len(common)} of the {len(tested)} classes that this test is made of"
    assert said in done.err
    done = run_metabench(*command, "init=run", "train.steps=0", cwd=tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err


def test_a_class_goes_by_its_folder_whatever_the_root(tmp_path):
    for split, classes in (("train", range(9)), ("val", range(9, 12)), ("test", range(12, 15))):
        write(tmp_path / "birds" / split, classes)
    trained = compose_plain(*OWN, f"data.root={tmp_path}/birds")
    check(trained, trained)
    (tmp_path / "link").symlink_to(tmp_path / "birds/train")
    for root in ("birds/train", "link"):
        with pytest.raises(ConfigError, match=r"the model was trained on . of the . classes"):
            check(trained, compose_plain(*OWN, f"data.root={tmp_path}/{root}", "data.ways=2"))


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
