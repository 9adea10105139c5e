"""Judges of what was answered. They know the contract, and nothing of the faults there were."""
