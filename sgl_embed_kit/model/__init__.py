"""What will be served: where its files are, and what they say."""
