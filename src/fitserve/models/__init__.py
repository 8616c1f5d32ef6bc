"""What a language model is: layers, tensors, weight formats, and the catalogue of known models."""
