"""Split into train, validation and test, and look for leakage."""
