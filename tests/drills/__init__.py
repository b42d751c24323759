"""Drills: the real program under kills, outages, full disks, locks and clocks that jump.

Each drill is a function of a ledger's kind, an empty folder and a scale; it gives a `Verdict`.
"""
