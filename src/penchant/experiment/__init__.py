"""Select, fit, ensemble, ablate and evaluate: everything that decides a published number."""
