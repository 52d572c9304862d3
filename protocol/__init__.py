"""What the signer and the frontend say to each other. Imports neither side."""
