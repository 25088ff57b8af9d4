"""What people read of the claims: a page in HTML and one in Markdown, with their pictures."""
