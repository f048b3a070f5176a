"""The nouns and tools every stage shares."""
