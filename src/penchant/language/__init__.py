"""Language models on this machine: loading them, and what they write."""
