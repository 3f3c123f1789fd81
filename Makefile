# Filled in below: demo, test, lint, bench, cuda, sanitize.
