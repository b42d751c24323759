"""The order of things: produce, claim, process, settle, export."""
