"""A module that ends the process that imports it, as a script does that reads its command line."""

raise SystemExit(2)
