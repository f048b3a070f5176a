"""The recommender over HTTP, with a durable store."""
