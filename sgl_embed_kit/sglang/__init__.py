"""What is known about SGLang: the installed one, its command line, its log."""
