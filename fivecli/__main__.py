"""Run as ``python -m fivecli``, for launchers that start modules: ``torchrun -m fivecli train ...``."""

from fivecli.app import main

if __name__ == "__main__":
    main()
