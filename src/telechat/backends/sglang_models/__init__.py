"""Architectures that SGLang is told of (`ModelRegistry.register` imports every module of this package)."""
