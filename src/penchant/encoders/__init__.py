"""One embedding for each item and modality, cached by content hash, resumable."""
