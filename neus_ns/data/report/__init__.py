"""What a user should know of a capture before training: facts, warnings with their cure, a table, a picture."""
