"""The studio: a page over the service for people who want to see what it knows and why."""
