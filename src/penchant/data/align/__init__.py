"""Bring streams of different clocks and rates onto one time axis."""
