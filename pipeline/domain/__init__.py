"""Words of the house: frozen values every room understands. Standard library only."""
