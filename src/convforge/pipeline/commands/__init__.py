"""The commands of `convforge`: a file for each, with its parser and what it does."""
