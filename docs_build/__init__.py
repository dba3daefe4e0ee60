"""What the documentation site is built with: generated pages, `llms.txt`, and the pictures."""
