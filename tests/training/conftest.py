from dataclasses import replace
from pathlib import Path

import pytest

from mpiqe.labels import DISTORTIONS, SCENES
from mpiqe.model.compact import CompactOptions, create_compact


@pytest.fixture(scope="package")
def lite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small compact backbone with an EfficientNet stem."""
    folder = tmp_path_factory.mktemp("lite")
    words = {word for name in (*SCENES, *DISTORTIONS) for word in name.lower().split()}
    options = CompactOptions(
        stem="efficientnet-lite0", image_size=96, vision_width=64, vision_layers=1, text_width=64, text_layers=1
    )
    create_compact(folder, words=words, options=replace(options, joint_width=32))
    return folder
