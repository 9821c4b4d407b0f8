"""C sources: compiled once, and where they cannot be, told and done without."""

import ctypes
import logging

import pytest

from core import compiling
from core.compiling import library

FLAGS = ("-O1",)


@pytest.fixture
def source(tmp_path):
    if not any(map(compiling.shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler is here")
    file = tmp_path / "answer.c"
    file.write_text("int answer(void) { return 42; }")
    return file


def test_a_source_is_compiled_once(source, tmp_path, monkeypatch):
    made = library(source, FLAGS, tmp_path / "cache")
    assert made is not None
    assert ctypes.CDLL(str(made)).answer() == 42
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    assert library(source, FLAGS, tmp_path / "cache") == made
    assert library(source, ("-O2",), tmp_path / "cache") is None, "other flags make another library"
    source.write_text("int answer(void) { return 43; }")
    assert library(source, FLAGS, tmp_path / "cache") is None, "so does another source"


def test_what_cannot_be_compiled_is_told(source, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        (tmp_path / "file").write_text("no folder")
        assert library(source, FLAGS, tmp_path / "file") is None
        assert "cannot be compiled" in caplog.text
        source.write_text("no C")
        assert library(source, FLAGS, tmp_path / "cache") is None
        assert "does not compile here" in caplog.text
    assert list((tmp_path / "cache" / "native").iterdir()) == [], "nothing half made is left"
