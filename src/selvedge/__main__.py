"""``python -m selvedge`` is the ``selvedge`` command."""

from selvedge.cli import main

if __name__ == "__main__":
    main()
