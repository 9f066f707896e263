"""What is checked of an integration, each check measured and recorded under its name."""
