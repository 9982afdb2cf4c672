"""The package's version, for what stands beside numbers; ``pyproject.toml`` and ``CITATION.cff`` say the same."""

__all__ = ["__version__"]

__version__ = "0.1.0"
