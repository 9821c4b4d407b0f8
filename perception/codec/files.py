"""The folder of a codec: config.json, pieces.json, and model.safetensors in half precision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from core.errors import FailedPrecondition
from perception.codec import MODEL_TYPE
from perception.codec.model import Network, Shape
from perception.codec.pieces import Pieces


def save(folder: Path, network: Network, pieces: Pieces, training: Mapping[str, Any]) -> None:
    """Writes the folder. Weights are rounded to 16 bits, phases excepted: an angle is worth its digits."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "kind": "codec",
        "architectures": ["ConceptCodec"],
        "model_type": MODEL_TYPE,
        "shape": network.shape.to_json(),
        "training": dict(training),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "pieces.json").write_text(json.dumps(pieces.words, ensure_ascii=False) + "\n")
    save_file(
        {
            name: tensor.contiguous() if name == "phases" else tensor.half().contiguous()
            for name, tensor in network.state_dict().items()
        },
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def load(folder: Path, *, device: str = "cpu") -> tuple[Network, Pieces]:
    """The network, computing in float32, and its pieces. Raises FailedPrecondition (MODEL_LOAD_FAILED)."""
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "config.json").read_text())
        if config["model_type"] != MODEL_TYPE:
            raise ValueError(f"its type is {config['model_type']!r}, and {MODEL_TYPE!r} was expected")
        network = Network(Shape(**config["shape"]))
        network.load_state_dict(
            {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        )
        pieces = Pieces(json.loads((folder / "pieces.json").read_text()))
    except Exception as error:  # whatever a broken folder makes of the libraries below
        raise FailedPrecondition(
            f"{folder} could not be loaded as a codec ({type(error).__name__}: {error}); train one with "
            "`sapience train codec`, or get it again",
            reason="MODEL_LOAD_FAILED",
        ) from error
    with torch.no_grad():
        network.eval().requires_grad_(False)
    return network.to(device), pieces
