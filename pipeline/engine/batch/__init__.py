"""The slow lane: pictures are packed, their file goes to the server, answers come back by the file.

``pack`` writes lines, ``courier`` brings a batch to the server and looks after it, ``harvest``
settles what came of it, ``lane`` is what workers and pool see of all that.
"""
