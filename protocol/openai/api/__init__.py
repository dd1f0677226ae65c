"""The notation in which the OpenAI API is described, and what is made from such a description."""
