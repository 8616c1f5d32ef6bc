"""From a Hugging Face config to a LanguageModel: one small module per family, `registry.py` maps class names."""
