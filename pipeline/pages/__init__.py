"""Pages for people: frozen values become HTML that stands alone, without network or server."""
