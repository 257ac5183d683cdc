"""Data that is not there yet: downloaded whole or not at all, or one line that says where it belongs."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from pathlib import Path

import pytest
from fake_omniglot import FAKE, fault, load

from metabench.data.images import download, raw
from metabench.errors import ConfigError

pytestmark = pytest.mark.usefixtures("small_omniglot")


def check_missing_line(line: str, root: Path) -> None:
    for part in FAKE:
        assert f"{download.URL}{part.name}.zip (md5 {part.md5})" in line
    for words in (f"into {root / 'omniglot-py'}", "data.root=", "METABENCH_DATA", "data=glyphs"):
        assert words in line


def test_missing_data_without_download(tmp_path, cache):
    check_missing_line(fault(tmp_path, cache), tmp_path)


def test_one_part_missing(root, cache):
    (root / "images_evaluation.zip").unlink()
    assert f"Omniglot is not in {root} (no images_evaluation.zip" in fault(root, cache)


def test_a_download_without_a_network(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(download, "URL", "http://127.0.0.1:9/")
    line = fault(tmp_path, cache, download=True)
    assert "the download of images_background.zip failed: <urlopen error" in line
    check_missing_line(line, tmp_path)


@pytest.fixture
def server(root, monkeypatch):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(root))
    ) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        monkeypatch.setattr(download, "URL", f"http://127.0.0.1:{http_server.server_port}/")
        yield root
        http_server.shutdown()


def test_a_download_is_checked_and_kept(server, tmp_path, cache, monkeypatch):
    parts = [p._replace(md5=hashlib.md5((server / f"{p.name}.zip").read_bytes()).hexdigest()) for p in FAKE]
    monkeypatch.setattr(raw, "parts", lambda: parts)
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "new"))
    bank, said = load(None, cache, download=True)
    assert bank.digest == load(server, tmp_path / "other")[0].digest
    assert {path.name for path in (tmp_path / "new/omniglot-py").iterdir()} == {f"{part.name}.zip" for part in FAKE}
    assert said[0].startswith("downloading http://127.0.0.1")


def test_a_download_with_the_wrong_md5_is_not_kept(server, tmp_path, cache):
    home = tmp_path / "new"
    home.mkdir()
    assert f"what arrived does not have the md5 {'0' * 32}" in fault(home, cache, download=True)
    assert list((home / "omniglot-py").iterdir()) == []


def test_a_named_root_must_exist_even_when_packed(root, cache, tmp_path):
    load(root, cache)
    with pytest.raises(ConfigError, match=r"data\.root=.*no such directory"):
        load(tmp_path / "nowhere", cache, download=True)
