"""Files, and what is made of them: uploads, batches, vector stores, containers, skills."""
