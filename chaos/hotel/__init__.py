"""The hotel: everything in chaos that knows the server."""
