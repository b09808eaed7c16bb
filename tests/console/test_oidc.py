"""Signing in at an OpenID Connect provider, and out of it, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

from tests.console import browser
from tests.support.deployment import STEADY, Deployment, logs_shown_on_failure
from tests.support.oidc_provider import CLIENT, SECRET, OidcProvider


def test_a_user_signs_in_at_the_provider_and_out_of_both(tmp_path: Path) -> None:
    with OidcProvider() as provider:
        deployment = Deployment(tmp_path, workers=0, server=STEADY, environ={"OIDC": SECRET})
        config = tmp_path / "config.toml"
        config.write_text(
            config.read_text().replace("[server]", f'[server]\npublic_url = "{deployment.urls[0]}"')
            + f'[auth.oidc]\nissuer = "{provider.issuer}"\nclient_id = "{CLIENT}"\nclient_secret_env_var = "OIDC"\n'
            + 'name = "Example"\ncreate_users = true\nprivate_hosts = ["127.0.0.1"]\nadmin_values = ["ops"]\n'
        )
        with deployment, logs_shown_on_failure(deployment):
            pictures = os.environ.get("THREADHOUSE_PICTURES", "")
            browser.tell("oidc", {"url": deployment.urls[0], "origins": [provider.issuer], "pictures": pictures}, {})
        assert provider.ended == ["grace"]
