"""A small joint codec: one vector for a sentence, and the sentence back from the vector.

Encoder and decoder are trained together, since a vector that was trained to tell meanings apart does not keep wording.
The domain is everyday English of up to some hundred characters, as `perception.codec.grammar` makes it. Importing this
package imports no torch; loading the codec does.
"""

from __future__ import annotations

import json
from pathlib import Path

MODEL_TYPE = "sapience_concept_codec"
"""What config.json of a codec says that it is."""


def is_codec(folder: Path) -> bool:
    """Whether a model's folder holds a codec."""
    try:
        return bool(json.loads((folder / "config.json").read_text()).get("model_type") == MODEL_TYPE)
    except (OSError, ValueError, AttributeError):  # no such file, no JSON, no object: something else
        return False
