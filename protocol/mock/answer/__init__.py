"""What an answer says: which tools a prompt asks for, with what arguments, and JSON that fits."""
