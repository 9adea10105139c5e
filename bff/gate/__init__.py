"""Who may pass: the ordered rungs of CONTRACT section 2."""
