"""The vision API as a server with a seed: the far side of the providers' wire.

A request walks through ``server`` (sockets), ``asking`` (the order of things), ``reading`` (what is
asked, refused as the real API refuses), ``exchange`` (what it would be answered: ``sight``,
``answers``), ``decisions`` (does the server answer, and how: ``plan``, ``refusals``), ``gate`` (is
it let in: ``buckets``), ``prompt_cache``, ``replying`` (the answer, spoilt as decided, and its
price), ``documents`` (how it looks on the wire), ``wire`` (its bytes) and ``books`` (what it would
have cost).

To add a way to misbehave: a member at the end of ``behavior.Fault`` with its share in ``Behavior``
and its option in ``cli/behavior_options``; then a row in ``refusals.REFUSALS`` if it answers with
an error, a branch in ``replying`` if it spoils the answer, or in ``asking`` if it spoils the
sending. ``books.FINAL_FAULTS`` says whether the client has its answer all the same.
"""
