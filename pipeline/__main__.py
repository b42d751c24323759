"""``python -m pipeline``: the same door as ``run.py`` and ``tagpipe``."""

from pipeline.cli.main import main

if __name__ == "__main__":
    main()
