"""A trained model in other formats, each run by its own runtime before anybody relies on it."""
