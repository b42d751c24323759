"""The vision API as a server with a seed: the far side of the providers' wire.

A request walks through ``server`` (sockets), ``reading`` (what is asked, refused as the real API
refuses), ``decisions`` (does the server answer, and how), ``answers`` (what it says),
``documents`` (how the answer looks on the wire) and ``books`` (what it would have cost).
To add a way to misbehave: a field in ``behavior``, a function in ``decisions.DECISIONS``.
"""
