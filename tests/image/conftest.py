"""The image of this run, and a deployment of compose.yaml with it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image import compose
from tests.image.deployment import Deployment
from tests.image.images import Image, from_description, stand_ins
from tests.support.model_server import ModelServer

DEPLOY = Path(__file__).parents[2] / "deploy"
NOT_ALONE = "`make image-test` builds the image first, and then runs these tests"


@pytest.fixture(scope="session")
def work() -> Path:
    """The folder that `python -m tests.image` has prepared."""
    folder = os.environ.get("THREADHOUSE_IMAGE_TEST")
    if folder is None:
        pytest.skip(NOT_ALONE)
    return Path(folder)


@pytest.fixture(scope="session")
def image(work: Path) -> Image:
    return from_description((work / "image").resolve(), json.loads((work / "image.json").read_text()))


@pytest.fixture(scope="session")
def deployment(work: Path, image: Image, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    """compose.yaml as it is, with an empty disk; nothing is started yet. Only config.toml names a model in addition."""
    folder = work / "deploy"
    shutil.copytree(DEPLOY, folder)
    project = compose.load(folder / "compose.yaml", {"POSTGRES_PASSWORD": secrets.token_hex(16)})
    images = {"threadhouse": image, **stand_ins((work / "services").resolve())}
    with Deployment(project, images, work) as deployed:
        yield deployed
        if request.session.testsfailed:
            print(*(container.tail() for container in deployed.all()), sep="\n")


@pytest.fixture(scope="session")
def model(work: Path, deployment: Deployment) -> Iterator[ModelServer]:
    """A scripted model, which the workers reach through the gateway of their network."""
    with ModelServer(host=deployment.networks.gateway(compose.DEFAULT_NETWORK)) as server:
        settings = work / "deploy" / "config.toml"
        provider = f'[model_providers.mock]\nbase_url = "{server.base_url}"\nwire_api = "responses"\n'
        settings.write_text(f'model = "m"\nmodel_provider = "mock"\n{settings.read_text()}\n{provider}')
        yield server
