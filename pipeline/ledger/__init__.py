"""Room 7: the truth. Status, attempts, answers and spend; the only room with database sessions."""
