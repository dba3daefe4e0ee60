"""The model's side: bodies are removed from what the model reads, and restored in the calls it makes."""
