"""Speed, quality and cost of a deployment."""
