"""A concept model as perception uses it: vectors of what was said in, the vector of what comes next out."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from core.errors import InvalidArgument
from core.models import ModelAddress, locate
from core.nouns import Float32
from perception.lcm import diffusion, files
from perception.lcm.ending import Asked
from perception.lcm.model import ConceptNetwork


class ConceptModel:
    """A concept model in the memory of this process. Safe to use from several threads, one computes at a time."""

    licence = "Apache-2.0"
    device = "cpu"

    def __init__(self, address: ModelAddress, *, threads: int | None = None) -> None:
        """Finds and loads the model, without its codec, whose address is `codec`.

        Raises what `core.models.locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED).
        """
        self.network, self.normaliser, self.space, self.codec = files.load(locate(address))
        self.address = address
        self.parameters = sum(one.numel() for one in self.network.parameters())
        self.places = self.network.shape.places
        self._threads = threads or 1
        self._lock = threading.Lock()

    def predict(self, concepts: Float32, asked: Asked | None = None) -> Float32:
        """The unit vector [dimensions] that is expected after unit vectors [concepts, dimensions].

        Of more Concepts than the model reads the last ones count. A two-tower model draws its noise by the seed, the
        same for the same seed; the others draw nothing. Raises InvalidArgument for another number of dimensions.
        """
        asked = asked or Asked()
        if concepts.ndim != 2 or concepts.shape[1] != self.space.dimensions or not len(concepts):
            raise InvalidArgument(
                f"concepts have shape {list(concepts.shape)}; {self.space} needs [concepts, {self.space.dimensions}]",
                field="context",
                reason="BAD_TENSOR",
            )
        normalised = self.normaliser.normalised(concepts[-self.places :])
        rows = torch.from_numpy(normalised.astype(np.float32))[None]
        with self._lock, torch.inference_mode():
            torch.set_num_threads(self._threads)
            if self.network.shape.method == "two-tower":
                said = self.drawn(rows, 1, asked)[0]
            else:
                said = torch.from_numpy(self.normaliser.restored(self.network(rows)[0, -1].numpy()))
            vector: Float32 = normalize(said, dim=-1).numpy()
        return vector

    def drawn(self, rows: Tensor, count: int, asked: Asked) -> Tensor:
        """So many draws [count, dimensions] of what comes after normalised Concepts [1, places, dimensions].

        Of a two-tower model. They are of the codec's scale, but of any length.
        """
        source = torch.Generator().manual_seed(asked.seed)
        start = torch.randn(count, self.space.dimensions, generator=source)
        denoise = denoiser(self.network, rows)
        guidance, steps = asked.guidance or diffusion.GUIDANCE, asked.steps or diffusion.INFERENCE_STEPS
        clean = diffusion.sample(denoise, start, steps=steps, guidance=guidance)
        return torch.from_numpy(self.normaliser.restored(clean.numpy()))


def denoiser(network: ConceptNetwork, rows: Tensor) -> diffusion.Denoise:
    """x0 of noisy vectors after normalised Concepts [1, places, dimensions], with them and without."""
    context = network.context(rows)

    def denoise(noisy: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        return network.denoise_after(noisy, times, context), network.denoise_after(noisy, times, context[:, :0])

    return denoise
