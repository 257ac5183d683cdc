"""Split files in the forms that the field publishes, and each fault in one: a line that names the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metabench.data.images.split_files import Files, read_split_file
from metabench.errors import DataError

IMAGES = {"ant": ["a1.png", "a2.png"], "bee": ["b1.png"]}
FOLDERS: Files = {"ant": [], "bee": []}
FORMS = {
    "filename,label": ("train.csv", "filename,label\na1.png,ant\nb1.png,bee\na2.png,ant\n", IMAGES),
    "columns in another order": ("train.csv", "Label,size,Filename\nant,3,a1.png\nbee,,b1.png\nant,,a2.png\n", IMAGES),
    "the index of a data frame": ("t.csv", ",filename,label\n0,a1.png,ant\n1,a2.png,ant\n2,b1.png,bee\n", IMAGES),
    "another program's text": (
        "train.csv",
        "\ufefffilename, label\r\na1.png, ant\r\n\r\na2.png, ant\r\n,\r\nb1.png, bee",
        IMAGES,
    ),
    "quotes": ("train.csv", 'filename,label\n"a,1.png",ant\n', {"ant": ["a,1.png"]}),
    "header and images in a text": ("train.txt", "filename,label\nb1.png,bee\n", {"bee": ["b1.png"]}),
    "a class per line": ("train.txt", "bee\nant\n", FOLDERS),
    "class and category": ("train.csv", "# of tieredImageNet\nant,insect\nbee,insect\n", FOLDERS),
    "names with spaces": ("train.txt", "polar bear\n  sea lion  \n", {"polar bear": [], "sea lion": []}),
    "JSON": (
        "base.JSON",
        json.dumps(
            {
                "label_names": ["ant", "wasp", "bee"],
                "image_names": ["/far/ant/a1.png", "b1.png", "a2.png"],
                "image_labels": [0, 2, 0],
            }
        ),
        {"ant": ["/far/ant/a1.png", "a2.png"], "bee": ["b1.png"]},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_published_form_is_read(form, tmp_path):
    name, text, expected = FORMS[form]
    (tmp_path / name).write_bytes(text.encode())
    assert read_split_file(tmp_path / name) == expected


def lists(**changes: object) -> str:
    return json.dumps({"label_names": ["ant", "bee"], "image_names": ["a1", "b1"], "image_labels": [0, 1], **changes})


FAULTS = {
    "an empty file": ("a.csv", "", "names no class; it should have a line per class, or filename,label"),
    "a header alone": ("a.csv", "filename,label\n", "names no class"),
    "comments alone": ("a.txt", "# ant\n\n", "names no class"),
    "a row without label": (
        "a.csv",
        "filename,label\n# ants\n\na1.png,ant\na2.png\n",
        "line 5 should have a filename and a label, not a2.png",
    ),
    "an empty label": ("a.csv", "filename,label\na1.png,\n", "line 2 should have a filename and a label, not a1.png,"),
    "an empty filename": ("a.csv", "filename,label\n,ant\n", "line 2 should have a filename and a label, not ,ant"),
    "an empty class": ("a.csv", "ant,insect\n,insect\n", "line 2 should begin with a class, not ,insect"),
    "a quote that does not end": (
        "a.csv",
        'filename,label\n"a1.png,ant\na2.png,ant\n',
        "cannot be read: line 3: unexpected end of data",
    ),
    "another encoding": ("a.txt", b"\xff\xfea\x00", "cannot be read: 'utf-8' codec"),
    "no JSON": ("a.json", "filename,label", "should be JSON with label_names, image_names and image_labels"),
    "another list": ("a.json", "[1, 2]", "should be JSON with label_names, image_names and image_labels"),
    "a key missing": ("a.json", '{"label_names": []}', "(KeyError: 'image_names')"),
    "fewer labels than images": ("a.json", lists(image_labels=[0]), "(ValueError: zip() argument 2 is shorter"),
    "a label beyond the names": ("a.json", lists(image_labels=[0, 2]), "(IndexError"),
    "a label below 0": ("a.json", lists(image_labels=[0, -1]), "(IndexError: the label -1)"),
    "a label in words": ("a.json", lists(image_labels=[0, "bee"]), "(TypeError"),
    "JSON without an image": ("a.json", lists(image_names=[], image_labels=[]), "names no class"),
    "depth without end": ("a.json", "[" * 100_000, "(RecursionError"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_file_is_named_in_one_line(name, tmp_path):
    file, text, expected = FAULTS[name]
    path = tmp_path / file
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as caught:
        read_split_file(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert expected in line
    assert "\n" not in line


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None])
def test_a_file_that_cannot_be_opened_is_named(make, tmp_path):
    make(tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"train\.csv: cannot be read: (Is a|No such)"):
        read_split_file(tmp_path / "train.csv")
