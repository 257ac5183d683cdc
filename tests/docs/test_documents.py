"""Links, paths and names in documents and comments exist; every command in a document can be given."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import sys
import tokenize
import tomllib
from importlib import import_module
from itertools import chain
from pathlib import Path

import documents
import pytest
import yaml
from documents import DOCUMENTS, Command
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from paths import ROOT

from metabench.cli.commands import WORDS
from metabench.cli.help import PAGE
from metabench.config.catalog import entries, folders
from metabench.config.compose import compose
from metabench.config.overrides import check_command
from metabench.sweep.search_space import corners, parse

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CI = (ROOT / ".ci/run").read_text()
ROOMS = ("metabench", "conf", "scripts", "tests", "docs", "outputs/reference")
NAMED_PATH = re.compile(rf"(?<![\w./-])(?:\.\./)*((?:{'|'.join(ROOMS)})/[\w./*-]+)(.?)")
NAMED_MODULE = re.compile(r"(?<![\w./-])metabench(?:\.\w+)+(?![\w/-])")
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]+")
SECTIONS = [
    *("Quickstart", "Results", "Methods", "Everyday use", "Your own method and data", "How it is built"),
    *("Documentation", "Citing", "Data licences", "Licence"),
]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ---- links and paths


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document):
    for target in documents.links(document):
        assert (document.parent / target).exists(), target


def comments(path: Path) -> str:
    """The comments and docstrings of a file of code, or the comments of a configuration."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return "\n".join(line.partition("#")[2] for line in text.splitlines())
    with path.open("rb") as file:
        found = [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docs = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, nodes)]
    return "\n".join([*found, *docs])


def texts() -> list[tuple[Path, str]]:
    code = [p for room in ("metabench", "scripts", "tests") for p in (ROOT / room).rglob("*.py")]
    configs = [*(ROOT / "conf").rglob("*.yaml"), ROOT / ".ci/run", ROOT / "pyproject.toml"]
    return [*((p, p.read_text(encoding="utf-8")) for p in DOCUMENTS), *((p, comments(p)) for p in [*code, *configs])]


def test_paths_in_documents_and_comments_exist():
    missing = [
        f"{name(path)}: {found}"
        for path, text in texts()
        for found, after in NAMED_PATH.findall(text)
        if after not in ("<", "{", "…") and not PLACEHOLDER.search(found) and not list(ROOT.glob(found.rstrip(".*/")))
    ]
    assert not missing, "\n".join(missing)


PROVENANCE = re.compile(r"`python scripts/benchmarks/[^`]*`[^:|]{0,40}\bsame (commit|machine|day|date)")


def test_figures_name_their_own_commit_and_date():
    """A section that is moved or put between two others keeps its own."""
    assert not [f"{name(p)}: {found[0]}" for p in DOCUMENTS if (found := PROVENANCE.search(p.read_text()))]


def test_modules_and_names_in_documents_and_comments_exist():
    missing = [
        f"{name(path)}: {found}" for path, text in texts() for found in NAMED_MODULE.findall(text) if not known(found)
    ]
    assert not missing, "\n".join(missing)


def known(dotted: str) -> bool:
    """Whether a dotted name is a module, or something that a module's source names."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        source = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        if source.is_file():
            return all(re.search(rf"\b{part}\b", source.read_text(encoding="utf-8")) for part in parts[length:])
        if path.is_dir():
            return length == len(parts)
    return dotted == "metabench.conf"  # the folder conf/, as it is installed


# ---- the README


def test_the_readme_is_a_page_in_its_order():
    text = (ROOT / "README.md").read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    assert len(documents.prose(ROOT / "README.md").split()) < 1000
    assert text.index("![") < text.index("## Quickstart")


def test_every_method_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## Methods") : text.index("## Everyday use")]
    listed = re.findall(r"`(\w+)`", table)
    assert sorted(listed) == sorted(entries("algo", folders(None)))
    for opening in (text[: text.index("## Quickstart")], PYPROJECT["project"]["description"]):
        assert f"{len(listed)} methods" in opening


def test_the_citation_is_of_this_version():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    required = {"cff-version", "message", "title", "authors", "version", "license"}
    assert required <= found.keys()
    assert found["version"] == import_module("metabench").__version__
    assert found["license"] == PYPROJECT["project"]["license"]


# ---- commands


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A reader's folder, with the methods that the documents show."""
    return documents.write_methods(tmp_path_factory.mktemp("reader"))


SHOWN = list({str(c): c for document in DOCUMENTS for c in documents.commands(document)}.values())
HELP = [
    Command(ROOT / "metabench/cli/help.py", line, tuple(shlex.split(line)))
    for line in re.findall(r"^  ((?:metabench|torchrun) .*?)(?:   .*)?$", PAGE.partition("Examples\n")[2], re.MULTILINE)
]


@pytest.mark.slow
@pytest.mark.parametrize("command", [*SHOWN, *HELP], ids=str)
def test_a_command_can_be_given(command, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    program, *arguments = command.words
    {"metabench": metabench, "torchrun": torchrun, "python": python, "pip": pip, "pytest": run_tests}.get(
        program, lambda _: in_ci(command)
    )(arguments)


def metabench(arguments: list[str]) -> None:
    if arguments and arguments[0] in WORDS:
        if len(arguments) > 1:
            subcommand(arguments[0], arguments[1:])
    elif arguments not in (["--help"], ["--version"]):
        run(arguments)


class Parsed(Exception):  # noqa: N818 -- nothing is wrong
    """The arguments of a subcommand were understood."""


def subcommand(word: str, arguments: list[str]) -> None:
    """The subcommand's own parser takes the arguments; nothing else of it is run."""
    understand, main = argparse.ArgumentParser.parse_args, import_module(f"metabench.cli.commands.{word}").main

    def stop(self, *given, **options):
        raise Parsed(understand(self, *given, **options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(Parsed) as parsed:
            main(arguments)
    options = vars(parsed.value.args[0])
    if word == "validate":
        assert set(options["experiment"]) <= {"NAME", *entries("experiment", folders(None))}
    if word == "ls":
        main(arguments)
    if word == "tune":
        fixed, varied = parse([o for o in options["overrides"] if not o.startswith(("trials=", "study="))])
        for corner in corners(varied):
            run([*fixed, *corner])


def run(arguments: list[str]) -> None:
    """A run, or each choice of a sweep with the first of the others, is checked and composed."""
    ordered = sorted(arguments, key=lambda word: "=" in word)
    check_command(ordered)
    given = get_args_parser().parse_args(ordered)
    parsed = OverridesParser.create().parse_overrides(given.overrides)
    launcher = [o for o in parsed if o.key_or_group.startswith("hydra")]
    for o in launcher:
        if o.key_or_group == "hydra/launcher":
            assert (ROOT / f"conf/hydra/launcher/{o.value()}.yaml").is_file()
    assert given.multirun or not any(o.is_sweep_override() for o in parsed)
    choices = [values(o, given.config_dir) for o in parsed if o not in launcher]
    first = [found[0] for found in choices]
    variants = [[*first[:i], other, *first[i + 1 :]] for i, found in enumerate(choices) for other in found[1:]]
    for overrides in [first, *variants]:
        compose(*overrides, config_dir=given.config_dir)


def values(override: Override, config_dir: str | None) -> list[str]:
    """The overrides that one of a sweep stands for; itself where it is none."""
    key = override.key_or_group
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if isinstance(override.value(), Glob):
        return [f"{key}={found}" for found in override.value().filter(list(entries(key, folders(config_dir))))][:2]
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def torchrun(arguments: list[str]) -> None:
    module = arguments.index("-m")
    assert arguments[module + 1] == "metabench"
    run(arguments[module + 2 :])


def python(arguments: list[str]) -> None:
    script, *rest = arguments
    source = (ROOT / script).read_text()
    for option in rest:
        assert not option.startswith("--") or f'"{option}"' in source, f"{script} takes no {option}"


def pip(arguments: list[str]) -> None:
    install, editable, target = arguments
    assert (install, editable) == ("install", "-e")
    if target != ".":
        extras = re.fullmatch(r"\.\[([\w,]+)\]", target)
        assert set(extras[1].split(",")) <= PYPROJECT["project"]["optional-dependencies"].keys()


def run_tests(arguments: list[str]) -> None:
    markers = {marker.partition(":")[0] for marker in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    marker, paths = (arguments[1], arguments[2:]) if arguments[:1] == ["-m"] else (None, arguments)
    assert marker is None or marker in markers
    assert all(Path(path).is_file() for path in paths)


def in_ci(command: Command) -> None:
    """CI does the same, be it into another folder."""
    assert command.text.partition(" -o ")[0] in CI


def test_commands_are_found():
    assert len(SHOWN) > 60
    assert len(HELP) == 8
    assert {command.words[0] for command in SHOWN} == set(documents.PROGRAMS)


def test_scripts_show_their_own_command():
    for path in chain((ROOT / "scripts").glob("*.py"), (ROOT / "scripts/benchmarks").glob("*.py")):
        shown = re.findall(r"python (scripts/[\w/]+\.py)(.*)", ast.get_docstring(ast.parse(path.read_text())) or "")
        assert shown, name(path)
        for script, rest in shown:
            python([script, *re.findall(r"(--[\w-]+)", rest.partition("#")[0])])
