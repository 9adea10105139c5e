"""The real world: processes and stores that faults are done to."""
