"""Where it is kept what keys, teams and addresses have taken: in this process, on this host, or in Redis."""
