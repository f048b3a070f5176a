"""A conversation about what to choose: requests in words to lists, questions and edits of interests."""
