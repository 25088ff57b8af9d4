"""What the pages of the site are made by, besides Sphinx itself."""
