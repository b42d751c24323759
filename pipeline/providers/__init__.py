"""Room 6: a vision request becomes a vision response. No loops, no database."""
