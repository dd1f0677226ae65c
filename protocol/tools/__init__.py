"""Commands beside serving: try and bundle."""
