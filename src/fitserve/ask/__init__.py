"""A question in Korean or English to a request, and its computed answer."""
