"""Learn what each user cares about from everything they touch."""
