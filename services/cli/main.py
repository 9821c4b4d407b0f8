"""`sapience`: remember, recall and ask from the command line."""

from __future__ import annotations

import sys

import sapience

from core.errors import SapienceError
from services.cli import (
    asking,
    correcting,
    dreams,
    entities,
    facts,
    generating,
    keeping,
    measuring,
    memories,
    migrations,
    moving,
    running,
    show,
    thinking,
    training,
)
from services.cli.app import app

COMMANDS = (
    memories,
    asking,
    generating,
    thinking,
    facts,
    correcting,
    entities,
    keeping,
    dreams,
    migrations,
    moving,
    training,
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
