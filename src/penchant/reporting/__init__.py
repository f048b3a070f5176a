"""Metrics in, report pages out: HTML, Markdown, JSON, plots and wording."""
