"""Language models on this machine: loading and generated text."""
