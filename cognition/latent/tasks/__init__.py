"""What latent thinking is trained on: questions with steps and an answer, made by a seed or read from a file."""
