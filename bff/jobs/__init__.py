"""Floor 5: what the house does by itself, with nobody waiting. Every job is on one roster."""
