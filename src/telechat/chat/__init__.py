"""How messages become tokens, and back: formats, the renderer, the templates for other programs, the parser."""
