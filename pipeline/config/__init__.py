"""Settings and profiles: every knob on one page, parsed in one place."""
