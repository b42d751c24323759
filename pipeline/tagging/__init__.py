"""Room 3: what we ask and how we read the answer. Pure."""
