import numpy as np
from PIL import Image
from skimage import data

from mpiqe import images
from mpiqe.bench.photos import QUALITY, bits_per_pixel, make_photo, write_photos


def test_a_photo_is_a_function_of_its_seed() -> None:
    assert np.array_equal(make_photo((64, 48), seed=3), make_photo((64, 48), seed=3))
    assert not np.array_equal(make_photo((64, 48), seed=3), make_photo((64, 48), seed=4))


def test_photos_are_as_heavy_as_a_real_one(tmp_path) -> None:
    made = write_photos(tmp_path, size=(512, 384), number=2)
    Image.fromarray(data.astronaut()[:384]).save(tmp_path / "real.jpg", quality=QUALITY)
    real = bits_per_pixel([tmp_path / "real.jpg"], (512, 384))
    assert [images.read(path).shape for path in made] == [(384, 512, 3)] * 2
    assert 0.7 * real < bits_per_pixel(made, (512, 384)) < 1.3 * real
