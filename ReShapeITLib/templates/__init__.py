"""An organ template as a file, where templates are found, and what is known about their shapes."""
