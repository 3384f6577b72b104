"""Floor 6: the ``selvedge`` command. Wires floors, prints words; decides nothing."""

from selvedge.cli.main import main

__all__ = ["main"]
