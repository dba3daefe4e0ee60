"""The model's side: bodies are taken out of what goes to the model and put back into what comes from it."""
