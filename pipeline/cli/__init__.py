"""The commands: they translate words into calls and results into words.

To add a verb: a file with one ``@verb`` function whose docstring has examples and exit codes, its
groups of options from ``options`` or its own, and a line in ``main``. Heavy imports stand inside
functions: ``tagpipe --help`` must not wait for a database.
"""
