#!/usr/bin/env python3
"""The front door: ``python run.py VERB`` is ``tagpipe VERB``."""

from pipeline.cli.main import main

if __name__ == "__main__":
    main()
