"""Media that are made up or looked into without a library: pictures, sound, vectors, words."""
