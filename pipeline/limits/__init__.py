"""Room 5: may we go on now? Memory held, money left."""
