"""A run that compiles nothing does not wait for the import of torch's compiler."""

import subprocess
import sys

import pytest

RUN = """
import sys
from metabench.cli.main import main
sys.argv = ["metabench", "train.steps=2", "train.tasks=2", "validate.episodes=2", "test.episodes=2", "optim=adam"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("torch._dynamo" in sys.modules, "torch" in sys.modules)
"""


@pytest.mark.slow
def test_a_whole_run_does_not_import_the_compiler(tmp_path):
    done = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False True"
