"""Where else it runs: plugins for vLLM and SGLang, and the commands that start them."""
