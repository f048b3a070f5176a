"""The studio: web pages over the service."""
