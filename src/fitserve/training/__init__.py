"""Jobs that change a model: fine-tuning and quantization; what they need, how long they take, which tool does them."""
