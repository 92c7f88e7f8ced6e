"""A utility that executors and workflow code share: pure, so the sandbox lets it in."""


def validate_url(url: str) -> bool:
    """Validate URL format."""
    return url.startswith(("http://", "https://"))
