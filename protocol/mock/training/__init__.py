"""Fine-tuning and evals."""
