"""Faults: one vocabulary, a virtual world, and the hotel they are done to."""
