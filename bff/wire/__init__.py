"""Bytes: the edge that desktops talk to, and the transport that talks to upstreams."""
