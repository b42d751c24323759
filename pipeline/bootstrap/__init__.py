"""The one composition root: settings become built objects, opened and closed in order."""
