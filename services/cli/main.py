"""`sapience`: remember, recall and ask from the command line."""

from __future__ import annotations

import sys

import sapience

from core.errors import SapienceError
from services.cli import (
    asking,
    converting,
    correcting,
    dreams,
    entities,
    facts,
    foreseeing,
    generating,
    keeping,
    measuring,
    memories,
    migrations,
    moving,
    patching,
    running,
    show,
    thinking,
    training,
    training_patches,
    training_perception,
)
from services.cli.app import app

COMMANDS = (
    memories,
    asking,
    generating,
    converting,
    thinking,
    facts,
    foreseeing,
    correcting,
    entities,
    keeping,
    dreams,
    migrations,
    moving,
    training,
    training_patches,
    patching,
    training_perception,
    running,
    measuring,
)
"""The modules that add commands to the application when they are imported."""


def main() -> None:
    """Runs the command line: errors are one line on standard error, and a status."""
    try:
        app()
    except (SapienceError, sapience.SapienceError) as error:
        show.err.print(f"[red]sapience:[/red] {show.escape(str(error))}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has seen enough
        sys.exit(141)
    except OSError as error:
        about = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        show.err.print(f"[red]sapience:[/red] {show.escape(about)}")
        sys.exit(1)
