"""`-o` harms no file of a run and no input."""

from __future__ import annotations

import pytest
from made_runs import write_run
from program import run_metabench

from metabench.cli.output import check_output
from metabench.errors import UserError


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder that holds a run."""
    cwd = tmp_path_factory.mktemp("work")
    write_run(cwd / "run", "data=sinusoid", "algo=maml")
    (cwd / "run/pictures").mkdir()
    (cwd / "link").symlink_to("run")
    (cwd / "in.csv").write_text("x,y\n0,0\n1,1\n")
    return cwd


def contents(folder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        "export run -o run/summary.safetensors",
        "report run -o run/summary.json",
        "report run --format csv -o run/metrics.jsonl",
        "runs run -o run/episodes.json",
        "leaderboard run -o run/status.json",
        "leaderboard run --format csv -o link/config.yaml",
        "plot curves run -o run/pictures/curves.png",
        "predict run --support in.csv --queries in.csv -o run/checkpoints/points.csv",
        "predict run --support in.csv --queries in.csv -o in.csv",
    ],
)
def test_no_file_of_a_run_or_of_the_input_is_replaced(words, work):
    before = contents(work)
    done = run_metabench(*words.split(), cwd=work)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert words.split()[-1].removesuffix(".safetensors") in done.err
    assert contents(work) == before


def test_other_names_in_a_run_and_names_of_runs_elsewhere_are_free(work):
    check_output(work / "run/mine.csv", work / "summary.json", work / "run/table.html")
    (work / "run/tests").mkdir()
    with pytest.raises(UserError, match=r"--output .*: tests is of the run .*; give another name or folder"):
        check_output(work / "run/tests/mine.csv")


def test_text_in_brackets_is_shown(tmp_path):
    """Markup and an emoji to rich, a comment of a config to a person."""
    (tmp_path / "conf/algo").mkdir(parents=True)
    (tmp_path / "conf/algo/mine.yaml").write_text('# needs pip install "x[extra]" :smile:\ndefaults: [maml]\n')
    done = run_metabench("ls", "algo", "--config-dir=conf", cwd=tmp_path)
    assert 'needs pip install "x[extra]" :smile:' in done.out
