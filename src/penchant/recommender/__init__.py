"""The trained recommender: one object that loads, scores, recommends, explains and takes in new items."""
