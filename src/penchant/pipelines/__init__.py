"""One readable flow for each task: recommendation, classification, moderation."""
