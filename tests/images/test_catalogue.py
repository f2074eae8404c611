"""An image's tag follows its content, all of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from images import catalogue
from images.build import outdated
from images.catalogue import BASES, BY_NAME, IMAGES, Image, reference
from tools.requirements import selected


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel."""
    wheel = tmp_path / "anneal.whl"
    wheel.write_bytes(b"one")
    return wheel


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of our own, with a file for each that an image is made of."""
    for image in IMAGES:
        (tmp_path / "images" / image.name).mkdir(parents=True)
        (tmp_path / "images" / image.name / "Dockerfile").write_text(image.name)
        (tmp_path / "requirements").mkdir(exist_ok=True)
        (tmp_path / "requirements" / (image.requirements or "none")).write_text("package==1")
    monkeypatch.setattr(catalogue, "CHECKOUT", tmp_path)
    monkeypatch.setattr(catalogue, "selected", lambda name: (tmp_path / "requirements" / name).read_text())
    return tmp_path


ON = {suite: f"{suite}:1" for suite in BASES}


def _changed(wheel: Path, before: dict[str, str], **bases: str) -> set[str]:
    return {name for name, tag in before.items() if reference(BY_NAME[name], ON | bases, wheel) != tag}


@pytest.fixture
def before(checkout: Path, wheel: Path) -> dict[str, str]:
    """The tags before the change."""
    assert checkout
    return {image.name: reference(image, ON, wheel) for image in IMAGES}


def test_a_code_change_touches_the_images_with_our_wheel(before: dict[str, str], wheel: Path) -> None:
    wheel.write_bytes(b"two")
    assert _changed(wheel, before) == {"operator", "router", "trainer", "server", "server-gpu"}


def test_where_room_is_short_what_differs_in_our_wheel_alone_gives_its_layers_first(
    before: dict[str, str], wheel: Path, checkout: Path
) -> None:
    def trainer(ours: bytes) -> str:
        wheel.write_bytes(ours)
        return reference(BY_NAME["trainer"], ON, wheel)

    two, three = trainer(b"two"), trainer(b"three")
    present = [two, before["trainer"], before["server"], before["torch"]]
    assert outdated(present, three, keep=0, spare_alike=True) == [before["trainer"]]
    assert outdated(present, three, keep=1) == [before["trainer"]]
    assert outdated(present, three, keep=0) == [two, before["trainer"]]
    (checkout / "requirements/train").write_text("package==2")
    assert outdated(present, trainer(b"three"), keep=0, spare_alike=True) == [two, before["trainer"]]


def test_a_new_requirement_touches_its_image_alone(before: dict[str, str], wheel: Path, checkout: Path) -> None:
    (checkout / "requirements/train").write_text("package==2")
    assert _changed(wheel, before) == {"trainer"}


def test_a_new_torch_touches_trainer_and_server(before: dict[str, str], wheel: Path, checkout: Path) -> None:
    (checkout / "requirements/torch").write_text("torch==2")
    assert _changed(wheel, before) == {"torch", "trainer", "server", "server-gpu"}


def test_another_installer_touches_every_image_that_it_fills(
    before: dict[str, str], wheel: Path, checkout: Path
) -> None:
    (checkout / "requirements/installer").write_text("uv==2")
    assert _changed(wheel, before) == set(BY_NAME) - {"python", "python-trixie"}


def test_a_changed_recipe_touches_its_image(before: dict[str, str], wheel: Path, checkout: Path) -> None:
    (checkout / "images/router/Dockerfile").write_text("changed")
    assert _changed(wheel, before) == {"router"}


def test_the_servers_share_a_recipe(before: dict[str, str], wheel: Path, checkout: Path) -> None:
    (checkout / "images/server/Dockerfile").write_text("changed")
    assert _changed(wheel, before) == {"server", "server-gpu"}


def test_another_base_touches_every_image_on_it(before: dict[str, str], wheel: Path) -> None:
    assert _changed(wheel, before, bookworm="debian:bookworm-slim") == set(BY_NAME) - {"python-trixie"}
    assert _changed(wheel, before, trixie="debian:trixie-slim") == {"python-trixie", "router"}


def test_parents_come_before_their_children() -> None:
    names = [*BASES, *(image.name for image in IMAGES)]
    assert all(names.index(image.parent) < names.index(image.name) for image in IMAGES)


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_an_image_has_its_recipe_and_ends_as_a_user_who_is_not_root(image: Image) -> None:
    recipe = image.dockerfile.read_text()
    assert recipe.splitlines()[-1] == "USER 65532:65532" or "\nUSER 65532:65532\n" in recipe or image.name == "builder"
    assert not image.requirements or selected(image.requirements)
    assert replace(image) == image
