"""Code that dequantises: which function undoes a stored format, and what generated files are told of it."""
