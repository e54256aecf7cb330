"""Two machines that have nothing in common but a wire."""
