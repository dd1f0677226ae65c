"""Several people behind one key: who they are, what each may take, and what each has taken."""
