"""`metabench --help`: a page a person can use, printed without composing anything."""

from __future__ import annotations

from metabench.cli.arguments import split_config_dir
from metabench.config.catalog import GROUPS, entries, folders

PAGE = """\
metabench: meta-learning methods compared under one protocol.

usage: metabench [GROUP=CHOICE | KEY=VALUE]...      one run: meta-train, validate, meta-test
       metabench -m KEY=V1,V2 ...                   a sweep; the same command again runs what is missing
       metabench ls [GROUP]                         what each group offers, one line each
       metabench runs [DIR]... [KEY=VALUE]...       the runs of some folders: status, metric, age, size
       metabench show RUN                           one run: card, result, curves, files
       metabench rm RUN...                          remove runs, or --checkpoints alone; asks first
       metabench test RUN [KEY=VALUE]...            the chosen weights of a run on other tasks; nothing is trained
       metabench report [DIR]... [-o FILE]          paper, ours, difference, verdict; md, latex, csv, json, html too
       metabench leaderboard [DIR]... [-o FILE]     the boards: every method on one test, after one training budget
       metabench compare A B                        paired difference over the same test tasks, 95% interval, p-values
       metabench tune KEY=log(A,B) ... trials=20    a search by validation; the same command continues it
       metabench validate [EXPERIMENT]...           check that every configuration builds; runs nothing
       metabench export RUN [-o FILE]               the chosen weights as safetensors, with a card
       metabench plot KIND DIR...                   pictures of several runs: curves, steps, fits, embedding, rounds
       metabench predict RUN --support DIR --queries DIR    a trained model on your own images; -o FILE.csv, FILE.png
       metabench doctor                             check the installation and say how to fix each problem
       metabench --full ...                         a run that shows its whole protocol
       metabench --cfg job [KEY=VALUE]...           the composed configuration, and nothing run

Groups (GROUP=CHOICE; --config-dir FOLDER adds your own)
{groups}

Keys most used (metabench --cfg job shows all of them, with their values)
  seed=0  device=auto|cpu|cuda|cuda:1|ddp  resume=true|false  name=NAME  run_dir=FOLDER  init=FOLDER
  train.steps  train.tasks (per meta-step)  engine=eager|compile|graph  chunk (tasks in memory at once)  remat=true
  validate.every  validate.episodes  validate.early_stopping  test.episodes  test.inductive_queries
  tracker=[tensorboard,wandb,mlflow,csv]
  data.ways  data.shots  data.queries  (data.train.* for meta-training alone)  data.root
  algo.inner_lr  algo.inner_steps  algo.eval_inner_steps  optim.lr

Examples
  metabench                                         MAML on sinusoids, less than a minute on a CPU core
  metabench algo=protonet data=omniglot             prototypical networks on Omniglot, 5-way 1-shot
  metabench algo=maml data=omniglot data.shots=5 device=cuda
  metabench -m algo=maml,protonet data=glyphs seed=0,1,2 train.steps=500
  metabench -m seed=0,1,2 hydra.launcher.parallel=4   4 jobs at once; default: what cores and memory allow
  metabench -m seed=0,1,2 hydra/launcher=submitit_slurm    on a cluster; also submitit_local, ray
  torchrun --nproc-per-node=4 -m metabench device=ddp algo=maml data=omniglot    one run on four GPUs
  metabench test outputs/omniglot/protonet/ID data.ways=20    the chosen checkpoint of a run, tested another way

A run writes outputs/<data>/<algo>/<id>, with name=NAME outputs/<data>/<algo>/NAME-<id>; the same command again
continues it, or shows it if it is finished.
Exit codes: 0 done, 1 failed, 2 bad input, 3 the loss is no longer finite, 4 out of memory, 128 + n stopped by signal n
(129 the terminal was closed, 130 Ctrl-C, 138 SIGUSR1, 140 SIGUSR2, 141 the reader of the output has gone, 143 SIGTERM).
Completion: eval "$(metabench -sc install=bash)"; all of Hydra's own options: metabench --hydra-help
"""


def page(arguments: list[str]) -> str:
    """The page, with the choices that exist, those of `--config-dir` among them."""
    config_dir = split_config_dir(arguments)[1]
    width = max(map(len, GROUPS))
    lines = []
    for group in GROUPS:
        names = entries(group, folders(config_dir))
        shown = dict.fromkeys(f"{name.partition('/')[0]}/…" if "/" in name else name for name in names)
        if shown:
            lines.append(f"  {group:<{width}}  {' '.join(shown)}")
    return PAGE.format(groups="\n".join(lines))
