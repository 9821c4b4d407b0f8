"""Licences of weights that bar a use: they are named and accepted before such weights load.

The one rule: a licence that is free for non-commercial use only ("NC" in its SPDX identifier) has to be accepted by
name. It is no legal advice, and it knows only the licences that a model's own files or this project name.
"""

from __future__ import annotations

import re
from collections.abc import Set

from core.errors import FailedPrecondition

_NON_COMMERCIAL = re.compile(r"(?:^|[-_ ])NC(?:[-_ ]|$)", re.IGNORECASE)


def bars_commerce(licence: str) -> bool:
    """Whether a licence, by its SPDX identifier, allows non-commercial use only."""
    return _NON_COMMERCIAL.search(licence) is not None


def check(licence: str, accepted: Set[str], model: object) -> None:
    """Raises FailedPrecondition (LICENCE_NOT_ACCEPTED) where a licence bars commerce and is not among the accepted."""
    if bars_commerce(licence) and licence.casefold() not in {one.casefold() for one in accepted}:
        raise FailedPrecondition(
            f"the weights of {model} are under {licence}, which bars commercial use; read it, and where your use "
            f"keeps to it, set SAPIENCE_ACCEPT_LICENCES={licence}",
            reason="LICENCE_NOT_ACCEPTED",
        )
