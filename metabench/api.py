"""The one module to import from outside: for your own methods, data sets and backbones, and for notebooks.

    from metabench.api import evaluate, load, run, tasks
    from metabench.api import Algorithm, Examples, compose

Names here keep their meaning between minor versions; every other module of the package may change. Nothing inside the
package imports this module.
"""

# ruff: noqa: I001

# Runs, tests, trained models and episodes from Python.
from metabench.inference.learner import Fit, Learner, Prediction, load
from metabench.inference.results import Result, evaluate, run
from metabench.inference.task_set import TaskSet, tasks

# Tasks: what travels between data and algorithms.
from metabench.tasks import SPLITS, Episode, Examples, Metrics, Setting, SplitName, Tasks, TaskSpec
from metabench.objective import OBJECTIVES, Objective, one_hot

# Algorithms: a base to subclass, from the general to the special.
from metabench.algo.base import Algorithm, Mode, State
from metabench.algo.embedder import Embedder
from metabench.algo.metric import MetricLearner
from metabench.algo.protonet import ProtoNet
from metabench.algo.fast_weights import FastWeights, InnerLoop
from metabench.algo.maml import MAML, Descent
from metabench.algo.recurrent import Recurrent

# Backbones: layers that run T tasks under T sets of weights.
from metabench.backbone.base import Backbone, batch_norms
from metabench.backbone.layers import Conv2d, Linear, max_pool
from metabench.backbone.norm import BatchNorm, GroupNorm, Statistics, make_norm

# Data sources.
from metabench.data.base import TaskSource
from metabench.data.curves import Curves, Points, Sampling
from metabench.data.few_shot import Episodes, FewShotImages
from metabench.data.images.bank import ImageBank
from metabench.data.online import Online

# Random numbers that are a function of the task.
from metabench.rng import below, bits, choose, content_keys, gaussian, noise_keys, normal, shuffle, task_keys, uniform

# Configurations, the types of their values, and what is raised for a wrong one.
from metabench.config.compose import compose
from metabench.config.types import (
    Count, Folder, NonNegative, Number, Positive, Section, Seed, Share, Ways, Whole, Widths,
)  # fmt: skip
from metabench.errors import ConfigError, DataError, UserError

__all__ = [  # what the API reference shows, and what type checkers let through
    "MAML",
    "OBJECTIVES",
    "SPLITS",
    "Algorithm",
    "Backbone",
    "BatchNorm",
    "ConfigError",
    "Conv2d",
    "Count",
    "Curves",
    "DataError",
    "Descent",
    "Embedder",
    "Episode",
    "Episodes",
    "Examples",
    "FastWeights",
    "FewShotImages",
    "Fit",
    "Folder",
    "GroupNorm",
    "ImageBank",
    "InnerLoop",
    "Learner",
    "Linear",
    "MetricLearner",
    "Metrics",
    "Mode",
    "NonNegative",
    "Number",
    "Objective",
    "Online",
    "Points",
    "Positive",
    "Prediction",
    "ProtoNet",
    "Recurrent",
    "Result",
    "Sampling",
    "Section",
    "Seed",
    "Setting",
    "Share",
    "SplitName",
    "State",
    "Statistics",
    "TaskSet",
    "TaskSource",
    "TaskSpec",
    "Tasks",
    "UserError",
    "Ways",
    "Whole",
    "Widths",
    "batch_norms",
    "below",
    "bits",
    "choose",
    "compose",
    "content_keys",
    "evaluate",
    "gaussian",
    "load",
    "make_norm",
    "max_pool",
    "noise_keys",
    "normal",
    "one_hot",
    "run",
    "shuffle",
    "task_keys",
    "tasks",
    "uniform",
]
