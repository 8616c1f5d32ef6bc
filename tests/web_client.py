"""A client of the web app in this process."""

from typing import Any

from starlette.testclient import TestClient

from fitserve.api.app import Settings, create_app

BASE = "http://127.0.0.1"


def client(language: str = "en", **settings: Any) -> TestClient:
    """A browser that speaks a language; a bug in a page is an error of the test."""
    made = TestClient(create_app(Settings(**settings)), base_url=BASE, follow_redirects=False)
    made.headers["accept-language"] = {"ko": "ko-KR,ko;q=0.9,en;q=0.5", "en": "en-US,en;q=0.9"}[language]
    return made
