"""Statistics over tasks, and the protocol that makes two numbers comparable."""
