"""Read tables, labelled samples and folders."""
