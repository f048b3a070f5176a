"""Read tables, labelled samples and folders as they stand."""
