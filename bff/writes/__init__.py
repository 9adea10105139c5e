"""What changes something: claimed, carried out once, recorded with its audit and its echo."""
