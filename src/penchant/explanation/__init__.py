"""Explanations of scores, user profiles and topics."""
