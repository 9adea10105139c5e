"""What a desk looks at."""
