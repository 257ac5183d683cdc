"""The class splits are fixed, disjoint and whole, and are what their sources say."""

from __future__ import annotations

import importlib.util
from collections import Counter

import pytest
from paths import ROOT
from real_data import needs_omniglot, omniglot_root

from metabench.data.images import raw
from metabench.data.images.splits import read_split, split_digest, split_names
from metabench.errors import ConfigError

SIZES = {"vinyals": (1028, 172, 423), "lake": (792, 172, 659), "maml": (1100, 100, 423)}
VALIDATION = {"Armenian": 41, "Bengali": 46, "Early_Aramaic": 22, "Hebrew": 22, "Mkhedruli_(Georgian)": 41}
VINYALS_TEST = {  # PAPERS 1.2
    "Malayalam": 47,
    "Oriya": 46,
    "Old_Church_Slavonic_(Cyrillic)": 45,
    "Tibetan": 42,
    "Kannada": 41,
    "Manipuri": 40,
    "Mongolian": 30,
    "Sylheti": 28,
    "Keble": 26,
    "ULOG": 26,
    "Tengwar": 25,
    "Syriac_(Serto)": 23,
    "Gurmukhi": 4,
}


def alphabets(names: list[str]) -> Counter[str]:
    return Counter(name.split("/")[0] for name in names)


def everything(name: str) -> list[str]:
    return sorted(character for part in read_split(name).values() for character in part)


@pytest.mark.parametrize("name", SIZES)
def test_parts_are_disjoint_and_hold_every_character(name):
    parts = read_split(name)
    assert tuple(parts) == ("train", "validation", "test")
    assert tuple(map(len, parts.values())) == SIZES[name]
    assert len(set(everything(name))) == 1623
    assert everything(name) == everything("lake")
    assert all(part == sorted(part) for part in parts.values())


def test_vinyals_alphabets():
    parts = read_split("vinyals")
    assert alphabets(parts["validation"]) == VALIDATION
    assert alphabets(parts["test"]) == VINYALS_TEST
    assert len(alphabets(parts["train"])) == 33
    assert [c for c in parts["test"] if c.startswith("Gurmukhi")] == [f"Gurmukhi/character{n}" for n in range(42, 46)]
    assert alphabets(parts["train"])["Gurmukhi"] == 41


def test_lake_is_the_two_archives():
    parts = read_split("lake")
    assert alphabets(parts["validation"]) == VALIDATION
    background = parts["train"] + parts["validation"]
    assert (len(background), len(alphabets(background))) == (964, 30)
    assert (len(parts["test"]), len(alphabets(parts["test"]))) == (659, 20)
    assert [part.characters for part in raw.parts()] == [sorted(background), parts["test"]]


def test_files_are_what_the_script_writes():
    script = _make_splits()
    background, evaluation = (part.characters for part in raw.parts())
    written = script.split_files(background[::-1], evaluation[::-1])
    assert sorted(written) == [f"{name}.txt" for name in split_names()]
    for name, text in written.items():
        assert (script.SPLITS / name).read_bytes() == text.encode()


@needs_omniglot
def test_names_are_those_of_the_archives():
    root = omniglot_root()
    assert root is not None
    found = [_make_splits().characters(root, part.name) for part in raw.parts()]
    assert found == [part.characters for part in raw.parts()]


def test_digest_is_of_what_the_split_says():
    assert {name: split_digest(name)[:16] for name in SIZES} == {
        "vinyals": "2886aa3d63582dff",
        "lake": "8e9f5c8d12ba916c",
        "maml": "b85add0d869cbfbc",
    }


def test_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"data.split=vinyal: no such split; did you mean vinyals\?"):
        read_split("vinyal")


def _make_splits():
    spec = importlib.util.spec_from_file_location("make_splits", ROOT / "scripts" / "make_splits.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
