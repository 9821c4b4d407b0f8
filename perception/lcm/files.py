"""The folder of a concept model: config.json, and model.safetensors in half precision with its normaliser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from core.errors import FailedPrecondition
from core.nouns import Space
from perception.codec.codec import ConceptCodec
from perception.lcm.model import ConceptNetwork, Shape
from perception.lcm.normaliser import Normaliser

MODEL_TYPE = "sapience_concept_model"


def save(
    folder: Path, network: ConceptNetwork, normaliser: Normaliser, codec: ConceptCodec, training: Mapping[str, Any]
) -> None:
    """Writes the folder. It names the codec and the version of its space, since a model reads no other."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "kind": "concept model",
        "architectures": ["ConceptModel"],
        "model_type": MODEL_TYPE,
        "shape": network.shape.to_json(),
        "codec": str(codec.address),
        "space": {"name": codec.space.name, "version": codec.space.version, "dimensions": codec.space.dimensions},
        "training": dict(training),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    weights["normaliser.centre"] = torch.from_numpy(normaliser.centre)
    weights["normaliser.scale"] = torch.from_numpy(normaliser.scale)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def load(folder: Path) -> tuple[ConceptNetwork, Normaliser, Space, str]:
    """Network, normaliser, the space it reads and the address of its codec.

    Raises FailedPrecondition (MODEL_LOAD_FAILED).
    """
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "config.json").read_text())
        if config["model_type"] != MODEL_TYPE:
            raise ValueError(f"its type is {config['model_type']!r}, and {MODEL_TYPE!r} was expected")
        weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        normaliser = Normaliser(*(weights.pop(f"normaliser.{name}").numpy() for name in ("centre", "scale")))
        network = ConceptNetwork(Shape(**config["shape"]))
        network.load_state_dict(weights)
        space = Space(config["space"]["name"], config["space"]["version"], config["space"]["dimensions"])
        address = str(config["codec"])
    except Exception as error:  # whatever a broken folder makes of the libraries below
        raise FailedPrecondition(
            f"{folder} could not be loaded as a concept model ({type(error).__name__}: {error}); train one with "
            "`sapience train concepts`, or get it again",
            reason="MODEL_LOAD_FAILED",
        ) from error
    return network.eval().requires_grad_(False), normaliser, space, address
