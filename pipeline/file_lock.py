"""A lock on an open file that ends with its process, however that ends."""

import sys

if sys.platform != "win32":
    import fcntl


def try_lock(handle: int) -> bool:
    """Take the lock that lives as long as the process; False when another one has it."""
    if sys.platform == "win32":
        return True  # there, a file that is in use cannot be removed anyway
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a disk without locks: one writer at a time is the rule
    return True
