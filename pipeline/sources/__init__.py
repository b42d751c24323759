"""Room 1: where images come from.

To add one: implement ``base.Source`` and name it in ``bootstrap``.
"""
