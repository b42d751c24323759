"""The vision API as a server with a seed: the far side of the providers' wire.

A request walks through ``server`` (sockets), ``asking`` (the order of things), ``reading`` (what is
asked, refused as the real API refuses), ``exchange`` (what it would be answered: ``sight``,
``answers``), ``mind`` (what is known of models, and whose account it goes on), ``decisions`` (does
the server answer, and how: ``plan``, ``refusals``), ``gate`` (is it let in: ``buckets``),
``prompt_cache``, ``replying`` (the answer, spoilt as decided, and its price), ``documents`` (how it
looks on the wire), ``wire`` (its bytes) and ``books`` (what it would have cost).

A batch comes in by ``lane`` (the calls about files, ``uploads`` and batches, read by ``forms``) as
one of the ``files``, and is one of the ``batches`` from then on (states, quota). ``batch_work``
leads it to its end in a task of its own, as fast as the ``calendar`` allows: ``batch_input`` looks
the file over, then each line meets ``exchange``, ``mind`` and the rest in ``batch_lines``, as a
request of its own would, but for the gate and the connection. ``line_book`` knows what was billed.

To add a way to misbehave: a member at the end of ``behavior.Fault`` with its share in ``Behavior``
and its option in ``cli/behavior_options``; then a row in ``refusals.REFUSALS`` if it answers with
an error, a branch in ``replying`` if it spoils the answer, or in ``asking`` if it spoils the
sending (and in ``batch_lines`` if a line of a batch cannot meet it). ``books.FINAL_FAULTS`` says
whether the client has its answer all the same.
"""
