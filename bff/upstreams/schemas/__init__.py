"""What upstreams must answer: strict structs, one file per kind of thing."""
