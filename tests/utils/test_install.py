"""Hints on how to install an extra work for every way in which the program was installed."""

from __future__ import annotations

import json

import pytest
from packaging.requirements import Requirement
from paths import ROOT

from metabench.utils import install
from metabench.utils.install import pip_install

GIT = {"url": "https://host/o/metabench.git", "vcs_info": {"vcs": "git", "commit_id": "ab12"}}
COMMANDS = [
    ({"url": "file:///my%20code/metabench", "dir_info": {"editable": True}}, 'pip install -e "/my code/metabench[x]"'),
    ({"url": "file:///code/metabench", "dir_info": {}}, 'pip install "/code/metabench[x]"'),
    (GIT, 'pip install "metabench[x] @ git+https://host/o/metabench.git@ab12"'),
    ({"url": "file:///w/m-1-py3.whl", "archive_info": {}}, 'pip install "metabench[x] @ file:///w/m-1-py3.whl"'),
]


@pytest.mark.parametrize(("origin", "command"), COMMANDS)
def test_the_command_is_of_where_the_program_came_from(origin, command, monkeypatch):
    monkeypatch.setattr(install, "_origin", lambda: json.loads(json.dumps(origin)))
    assert pip_install("x") == command
    if " @ " in command:
        assert Requirement(command.split('"')[1]).extras == {"x"}


def test_a_checkout_and_a_release(monkeypatch, tmp_path):
    monkeypatch.setattr(install, "_origin", dict)
    assert pip_install("x") == f'pip install -e "{ROOT}[x]"'
    monkeypatch.setattr(install, "CHECKOUT", tmp_path)
    assert pip_install("x") == 'pip install "metabench[x]"'
