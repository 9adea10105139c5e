"""What the pytest plugin is made of: a run twice, a plan rehearsed, fixtures in order, and how to have it again."""
