"""Places that are not what a program expects: no working directory, no home, folders of other names or owners."""

from __future__ import annotations

from patches import remove_working_directory
from program import GLYPHS, Ended, only_run, run_fresh, run_metabench, summary

from faults.fault import Attempt, fault

RUN = (*GLYPHS, "algo=protonet", "device.threads=1")
GONE = ("seed=1", "-m seed=1,2", "--cfg job", "doctor", "report", "compare a b", "plot curves a", "test a", "validate")
WAYS = (
    ("python", "-m", "metabench"),
    ("metabench",),
    ("python", "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "metabench"),
)


def refused(done: Ended, path: str) -> None:
    assert done.code in (1, 2), done
    assert done.err.count("\n") == 1, done.err
    assert path in done.err


@fault("the working directory is removed", "one line that names it, exit code 1 or 2", tries=len(GONE))
def working_directory(attempt: Attempt) -> None:
    work = attempt.folder / "work"
    work.mkdir()
    done = run_metabench(*GONE[attempt.number].split(), cwd=work, patch=remove_working_directory)
    refused(done, f"{work}/gone")


@fault("a folder called metabench in the working directory", "the run is complete", tries=len(WAYS))
def folder_of_our_name(attempt: Attempt) -> None:
    work = attempt.folder / "work"
    (work / "metabench/metabench").mkdir(parents=True)
    ddp = ("device=ddp",) if "torch.distributed.run" in WAYS[attempt.number] else ()
    done = run_fresh(*WAYS[attempt.number], *RUN, *ddp, cwd=work, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.code == 0, done
    assert summary(only_run(work))["status"] == "complete"


@fault("a user's file has the name of one of ours", "it is what runs, and no published value beside it", tries=3)
def name_of_ours(attempt: Attempt) -> None:
    work = attempt.folder / "work"
    for place in ("my/algo", "my/experiment/sinusoid"):
        (work / place).mkdir(parents=True)
    (work / "my/algo/protonet.yaml").write_text("defaults: [protonet]\ndistance: cosine\n")
    text = "# @package _global_\ndefaults: [sinusoid/maml_k5, _self_]\nseed: 7\n"
    (work / "my/experiment/sinusoid/maml_k5.yaml").write_text(text)
    place = ("my", f"{work}/my/", "./my")[attempt.number]
    done = run_metabench("--cfg", "job", "algo=protonet", "data=glyphs", "--config-dir", place, cwd=work)
    assert "distance: cosine" in done.out, done
    done = run_metabench("--cfg", "job", "experiment=sinusoid/maml_k5", "--config-dir", place, cwd=work)
    assert "seed: 7" in done.out, done
    assert "published: null" in done.out, done
