"""Bad input: one line that names the key, the value and what is valid; no traceback, and nothing is created."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import pytest
from program import GLYPHS, SINUSOID, Ended, only_run, run_metabench

CASES = {
    # types
    "train.steps=many": "train.steps=many: should be a valid integer",
    "train.steps=2.5": "train.steps=2.5: should be a valid integer",
    "train.steps=1e3": "train.steps=1000.0: should be a valid integer",
    "seed='1'": "seed=1: should be a valid integer",
    "resume=maybe": "resume=maybe: should be a valid boolean",
    "log.pictures=1": "log.pictures=1: should be a valid boolean",
    "algo.inner_lr=fast": "algo.inner_lr=fast: should be a valid number",
    "algo.inner_lr=true": "algo.inner_lr=True: should be a valid number",
    "algo.inner_lr=null": "algo.inner_lr=null: should be a valid number",
    "algo.inner_lr=[0.1]": "algo.inner_lr=[0.1]: should be a valid number",
    "chunk=all": "chunk=all: should be a valid integer or should be 'auto'",
    "chunk=0": "chunk=0: should be greater than or equal to 1",
    "algo=snail data=glyphs chunk=2": "chunk=2: backbone.statistics=pooled is of all tasks of a meta-step",
    "data=glyphs backbone.statistics=pooled": "pooled: is for tasks under the same weights",
    "engine=fast": "engine=fast: should be 'auto', 'eager', 'compile' or 'graph'",
    "device=cpu engine=graph": "engine=graph: needs a CUDA device",
    "engine=compile remat=true": "remat=true: is undone by engine=compile",
    "remat=maybe": "remat=maybe: should be a valid boolean",
    "train=3": "train=3: should be a valid dictionary",
    "backbone.hidden=8": "backbone.hidden=8: should be a valid list",
    "backbone.hidden=[8,a]": "backbone.hidden=a: should be a valid integer",
    "run_dir=3": "run_dir=3: should be a valid string",
    "run_dir=": "run_dir=: should be the path of a folder",
    "init=": "init=: should be the path of a folder",
    "data=omniglot data.root=": "data.root=: should be the path of a folder",
    f"run_dir={300 * 'x'}": "xxx…: should be the path of a folder",
    "engine=null": "engine=null: should be 'auto', 'eager', 'compile' or 'graph'",
    "train=null": "train=null: should be a valid dictionary",
    "test.episodes=all": "test.episodes=all: should be a valid integer",
    # ranges
    "seed=-1": "seed=-1: should be greater than or equal to 0",
    "seed=99999999999999999999": "should be less than 9223372036854775808",
    "train.steps=1000000001": "train.steps=1000000001: should be less than or equal to 1000000000",
    "train.tasks=99999999999999999999": "should be less than or equal to 1000000000",
    "train.tasks=0": "train.tasks=0: should be greater than or equal to 1",
    "train.steps=1e30": "train.steps=1e+30: should be a valid integer",
    "device.threads=1025": "device.threads=1025: should be less than or equal to 1024",
    "data=glyphs data.ways=1": "data.ways=1: should be greater than or equal to 2",
    "data.shots=0": "data.shots=0: should be greater than or equal to 1",
    "data.x_range=[nan,1]": "data.x_range=nan: should be a finite number",
    "optim.lr=1e400": "optim.lr=inf: should be a finite number",
    "train.steps=-1": "train.steps=-1: should be greater than or equal to 0",
    "train.clip=0": "train.clip=0: should be greater than 0",
    "test.episodes=1": "test.episodes=1: should be greater than or equal to 2",
    "checkpoint.every=0": "checkpoint.every=0: should be greater than or equal to 1",
    "algo.inner_lr=-0.1": "algo.inner_lr=-0.1: should be greater than 0",
    "algo.inner_lr=nan": "algo.inner_lr=nan: should be a finite number",
    "optim.lr=inf": "optim.lr=inf: should be a finite number",
    "optim.betas=[0.9]": "optim.betas=[0.9]: should have at least 2 items, not 1",
    "optim.betas=[0.9,1.5]": "optim.betas=1.5: should be less than 1",
    "data.amplitude=[5,1]": "data.amplitude=[5.0, 1.0]: should be [low, high] with low <= high",
    "backbone.hidden=[0]": "backbone.hidden=0: should be greater than or equal to 1",
    # choices and names
    "train.schedule=halv": "train.schedule=halv: should be 'constant', 'linear', 'cosine' or 'halve'",
    "device.precision=float16": "device.precision=float16: should be 'float32', 'tf32' or 'bfloat16'",
    "algo=mamml": "algo=mamml: no such algo; did you mean maml? valid: anil, ",
    "data=sinus": "data=sinus: no such data; did you mean sinusoid? valid: glyphs, ",
    "optim=adamw": "optim=adamw: no such optim; did you mean adam? valid: adam, sgd",
    "device=gpu": "device=gpu: no such device; did you mean cpu? valid: auto, cpu, cuda",
    "experiment=maml": "experiment=maml: no such experiment; ",
    "budget=smok": "budget=smok: no such budget; did you mean smoke? valid: full, short, smoke",
    "recipe=few_shot/mamml": "recipe=few_shot/mamml: no such recipe; did you mean few_shot/maml? ",
    "recipe=null": "recipe=null: no such recipe; valid: ",
    "algo=null": "algo=null: no such algo; valid: anil, ",
    "algo=[maml,anil]": "algo=['maml', 'anil']: no such algo; valid: anil, ",
    "~data": "data=null: no such data; valid: ",
    "hydra/launcher=slurm": "hydra/launcher=slurm: no such hydra/launcher; did you mean submitit_slurm? valid: basic, ",
    "--config-name=mine": "mine: no such configuration",
    # keys
    "train.step=3": "train.step: no such key; did you mean steps? valid: clip, ",
    "+train.step=3": "train.step=3: no such key; did you mean steps? valid: clip, ",
    "algo.inner_step=3": "algo.inner_step: no such key; did you mean inner_steps? valid: ",
    "+algo.inner_step=3": "algo.inner_step=3: no such key; did you mean inner_steps? valid: ",
    "+data.train.ways=3": "data.train.ways=3: no such key; valid: queries, shots",
    "alg=maml": "alg: no such key; did you mean algo? valid: ",
    "dummy=1": "dummy: no such key; valid: ",
    "+dummy=1": "dummy=1: no such key; valid: ",
    "+dummy/group=1": "dummy/group=1: no such key; valid: ",
    "validation.every=1": "validation: no such key; did you mean validate? ",
    "data.ways=5": "data.ways: no such key; valid: amplitude, ",
    "algo.inner_lr=???": "algo.inner_lr=???: a value is needed",
    "~train.steps": "train.steps=???: a value is needed",
    "+test.prediction=transductive": "test.prediction=transductive: no such key; valid: episodes",
    "seed=${seed}": "seed: Recursive interpolation detected",
    "seed=${train.steps} train.steps=${seed}": "seed: Recursive interpolation detected",
    "seed=${oc.env:NOT_SET}": "seed: KeyError raised while resolving interpolation: \"Environment variable 'NOT_SET'",
    "seed=${nope:1}": "seed: Unsupported interpolation type nope",
    "train.steps=${train.nope}": "train.steps: Interpolation key 'train.nope' not found",
    # what a config may name
    "algo._target_=os.system": "os.system: should name a subclass of metabench.algo.base.Algorithm",
    "algo._target_=builtins.eval": "builtins.eval: should name a subclass of metabench.algo.base.Algorithm",
    "algo._target_=metabench.algo.base.Algorithm": "should name a subclass of metabench.algo.base.Algorithm",
    "algo._target_=metabench.backbone.mlp.MLP": "should name a subclass of metabench.algo.base.Algorithm",
    "data._target_=pathlib.Path.write_text": "data._target_=pathlib.Path.write_text: ",
    "backbone._target_=torch.nn.Linear": "should name a subclass of metabench.backbone.base.Backbone",
    "optim._target_=shutil.rmtree": "should name a subclass of torch.optim.",
    "algo._target_=nowhere.Algo": "algo._target_=nowhere.Algo: cannot be imported: No module named 'nowhere'",
    "algo._target_=metabench.algo.maml.MAMML": "algo._target_=metabench.algo.maml.MAMML: cannot be imported: ",
    "algo._target_=this.Zen": "algo._target_=this.Zen: should name a subclass of metabench.algo.base.Algorithm",
    "algo._target_=unittest.__main__.main": "should name a subclass of metabench.algo.base.Algorithm",
    "algo._target_=maml": "algo._target_=maml: should be a dotted path",
    # the command
    "maml": "maml: should be KEY=VALUE",
    "=3": "=3: should be KEY=VALUE",
    'algo.inner_lr="0.1': 'algo.inner_lr="0.1: should be KEY=VALUE',
    "seed=ü": "seed=ü: should be KEY=VALUE",
    "run_dir='a": "run_dir='a: should be KEY=VALUE",
    "seed=range(3)": "Sweep parameters 'seed=range(3)' requires --multirun",
    "backbone.hidden=[8": "backbone.hidden=[8: should be KEY=VALUE",
    "seed=0,1": "seed=0,1: several values; -m runs one after the other",
    "--experimental-rerun=x": "loads a pickle",
    "--nonsense": "unrecognized arguments: --nonsense; see metabench --help",
    "--cfg=jobs": "argument --cfg/-c: invalid choice: 'jobs'",
    "-m experiment=glob(omniglot/mmaml*)": "experiment=glob(omniglot/mmaml*): no experiment of such a name",
    "-m seed=glob(1*)": "seed=glob(1*): chooses from a group",
    "-m --cfg=job": "Only one of --run, --multirun, --cfg",
    "--config-dir=nowhere": "nowhere' not found",
    "hydra.searchpath=[file:///nowhere]": "path=/nowhere is not available",
    "hydra.run.dir=/proc/nowhere": "No such file or directory: '/proc/nowhere'",
    "doctor now": "unrecognized arguments: now",
    "ls alg": "alg: no such group; did you mean algo? valid: algo, backbone, ",
    "ls --config-dir=nowhere": "--config-dir nowhere: no such folder",
    # what does not go together
    "algo=protonet": "algo=ProtoNet: compares classes and needs classification data; this is a regression",
    "backbone=conv4": "backbone=conv4: needs images",
    "data=glyphs algo=protonet data.ways=500": "data.ways=500: at most 400, the classes of the test split",
    "data=glyphs algo=protonet data.train.ways=999": "data.train.ways=999: at most 960, the classes of the train split",
    "data=glyphs data.train.queries=0": "data.train.queries=0: at least 1: MAML learns to answer queries",
    "data=glyphs data.queries=0": "data.queries=0: at least 1",
    "data=glyphs data.shots=10 data.queries=15": "data.shots=10: with data.queries=15 at most 20, the drawings",
    "train.schedule=halve": "train.halve_every=null: should be a number of meta-steps, for train.schedule=halve",
    "data=glyphs data.train.ways=3": "data.train.ways=3: should be data.ways, 5: ",
    # what is not there
    "device=cuda": "device=cuda: torch sees no CUDA device here; use device=cpu",
    "init=nowhere": "init=nowhere: has no intact best checkpoint: nowhere/checkpoints/best.pt: No such file",
    "data=omniglot data.root=nowhere": "data.root=nowhere: no such directory",
    "run_dir=/dev/null": "run_dir=/dev/null: cannot be written: File exists",
    "run_dir=/proc/run": "run_dir=/proc/run: cannot be written: ",
}


def refused(done: Ended, expected: str, code: int = 2) -> None:
    assert (done.code, done.out) == (code, "")
    assert done.err.count("\n") == 1
    assert done.err.startswith("metabench: ")
    assert expected in done.err


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def _third(commands: Iterable[str]) -> list[Any]:
    """Every third command among the quick tests: each starts the program."""
    return [pytest.param(c, marks=[pytest.mark.slow] if i % 3 else []) for i, c in enumerate(commands)]


@pytest.mark.parametrize("command", _third(CASES))
def test_one_line_and_nothing_created(command, work):
    refused(run_metabench(*command.split(), cwd=work), CASES[command])
    assert list(work.iterdir()) == []


@pytest.mark.skipif(find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_tensorboard_that_is_not_installed(work):
    refused(run_metabench("log.tensorboard=true", cwd=work), 'needs pip install "metabench[tensorboard]"')
    assert list(work.iterdir()) == []


def test_run_dir_is_a_file_below_a_file_or_holds_another_run(work):
    (work / "file").write_text("mine")
    refused(run_metabench("run_dir=file", cwd=work), "run_dir=file: cannot be written: File exists")
    refused(run_metabench("run_dir=file/run", cwd=work), "run_dir=file/run: cannot be written: Not a directory")
    assert run_metabench(*SINUSOID, "run_dir=run", cwd=work).code == 0
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    for other in ("seed=1", "resume=false"), ("train.steps=21",):
        done = run_metabench(*SINUSOID, "run_dir=run", *other, cwd=work)
        refused(done, "run_dir=run: holds a run of another configuration; choose another folder")
    assert before == {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}


def test_init_from_another_model(work):
    assert run_metabench(*GLYPHS, "algo=protonet", "train.steps=1", cwd=work).code == 0
    run = only_run(work)
    done = run_metabench(*GLYPHS, "algo=protonet", f"init={run}", "backbone.filters=5", "run_dir=other", cwd=work)
    refused(done, f"init={run}: does not fit this model: ")
    (run / "checkpoints/best.pt").write_bytes(b"")
    done = run_metabench(*GLYPHS, "algo=protonet", f"init={run}", "run_dir=other", cwd=work)
    refused(done, f"init={run}: has no intact best checkpoint: {run}/checkpoints/best.pt: the checksum does not match")
    assert not (work / "other").exists()


TOUCH = "{_target_: pathlib.Path.touch, self: {_target_: pathlib.Path, _args_: [touched]}}"
HOSTILE = {
    "hydra: {callbacks: {x: {_target_: hydra._internal.core_plugins.bash_completion.os.mkdir, path: touched}}}": (
        "hydra.callbacks.x._target_=hydra._internal.core_plugins.bash_completion.os.mkdir: is not to be called"
    ),
    "hydra: {callbacks: {x: TOUCH}}": "hydra.callbacks.x._target_=pathlib.Path.touch: is not to be called",
    "hydra: {callbacks: {sweep: {x: TOUCH}}}": "hydra.callbacks.sweep.x._target_=pathlib.Path.touch: ",
    "hydra: {callbacks: {x: '${data.x}'}}\ndata: {x: TOUCH}": "hydra.callbacks.x._target_=pathlib.Path.touch: ",
    "hydra: {sweeper: {params: {x: TOUCH}}}": "hydra.sweeper.params.x._target_=pathlib.Path.touch: ",
    "hydra: {job_logging: {handlers: {x: {'()': os.mkdir, path: touched}}}}": "handlers.x.()=os.mkdir: ",
    "hydra: {hydra_logging: {handlers: {x: {class: os.mkdir, path: touched}}}}": "handlers.x.class=os.mkdir: ",
    "hydra: {job_logging: {handlers: {x: {class: logging.FileHandler, filename: touched}}}}": (
        "hydra.job_logging.handlers.x.class=logging.FileHandler: is not to be called"
    ),
    "hydra: {job_logging: {handlers: {x: {class: logging.StreamHandler, stream: 'ext://this.s'}}}}": (
        "hydra.job_logging.handlers.x.stream=ext://this.s: is not to be called"
    ),
    # named only once the number of the job is known, which is after the check
    "hydra: {job_logging: {handlers: {x: {'()': '${n.${hydra.job.num}}', path: touched}}}}\nn: {0: os.mkdir}": (
        "hydra.job_logging.handlers.x.()"
    ),
    "hydra: {callbacks: {sweep: {_target_: '${data.${oc.select:hydra.job.num,_target_}}'}}}": (
        "hydra.callbacks.sweep._target_=metabench.data.sinusoid.Sinusoid: is not to be called"
    ),
    # git runs what its variables name
    "hydra: {job: {env_set: {GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: core.fsmonitor, GIT_CONFIG_VALUE_0: touch}}}": (
        "hydra.job.env_set={'GIT_CONFIG_COUNT': '1', "
    ),
}


@pytest.mark.parametrize("mode", ["--run", pytest.param("-m", marks=pytest.mark.slow)])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_experiment_calls_nothing(text, mode, work):
    (work / "experiment").mkdir()
    (work / "experiment/shared.yaml").write_text(f"# @package _global_\n{text.replace('TOUCH', TOUCH)}\n")
    refused(run_metabench(mode, "--config-dir=.", "experiment=shared", cwd=work), HOSTILE[text])
    assert [path.name for path in work.iterdir()] == ["experiment"]


APPLY = "!!python/object/apply"
MINE = {  # algo/mine.yaml of a user, or of someone they got it from
    "_target_: [": "algo/mine.yaml",
    f"_target_: {APPLY}:os.mkdir [touched]": "could not determine a constructor for the tag",
    "_target_: !!python/object/new:os.mkdir [touched]": "could not determine a constructor for the tag",
    "_target_: !!python/name:os.mkdir": "could not determine a constructor for the tag",
    f"{{defaults: [maml], inner_lr: {APPLY}:pathlib.Path [x]}}": "algo.inner_lr=x: should be a valid number",
    "_target_: &a [*a]": "a value contains itself",
    "[3]": "algo=[3]: should be a valid dictionary",
    "3": "Invalid loaded object type: int",
    "\0": "algo/mine.yaml",
    "{defaults: [nope]}": "algo",
    "{defaults: [mine]}": "a configuration includes itself",
    "{inner_lr: 3}": "algo._target_=null: should be a dotted path, package.module.Class",
    "{inner_lr: 1, inner_lr: 2}": "found duplicate key inner_lr",
    "{defaults: [maml], _target_: mine.raises.A}": "cannot be imported: ZeroDivisionError: for a test",
    "{defaults: [maml], _target_: mine.exits.A}": "cannot be imported: SystemExit: 0",
}


@pytest.mark.parametrize("text", MINE)
def test_a_bad_config_of_the_user(text, work):
    (work / "algo").mkdir()
    (work / "algo/mine.yaml").write_text(f"{text}\n")
    (work / "mine").mkdir()
    (work / "mine/raises.py").write_text("raise ZeroDivisionError('for a test')")
    (work / "mine/exits.py").write_text("raise SystemExit(0)")
    before = sorted(work.rglob("*"))
    refused(run_metabench("--config-dir=.", "algo=mine", cwd=work), MINE[text])
    assert sorted(path for path in work.rglob("*") if "__pycache__" not in path.parts) == before


def test_a_model_that_no_machine_holds(work):
    command = ("data=glyphs", "data.characters=40", "backbone=mlp", "backbone.hidden=[1000000000]")
    refused(run_metabench(*command, cwd=work), "out of memory: a smaller backbone or data set needs less", code=4)
    assert list(work.iterdir()) == []


def test_a_folder_with_files_of_another_kind_is_left_alone(work):
    (work / "pictures").mkdir()
    (work / "pictures/holiday.png").write_text("mine")
    for more in (), ("resume=false",):
        refused(
            run_metabench("run_dir=.", *more, cwd=work), "run_dir=.: has a pictures, but is no run's; choose another"
        )
    assert [path.name for path in work.rglob("*")] == ["pictures", "holiday.png"]
