"""Known layouts, each brought to the three tables."""
