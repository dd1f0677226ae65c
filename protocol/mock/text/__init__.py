"""What the mock reads in texts and documents: words, vectors, ranks."""
