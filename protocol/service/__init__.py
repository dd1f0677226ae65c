"""What stands before every backend: routes, our own doors, CORS, log, metrics."""
