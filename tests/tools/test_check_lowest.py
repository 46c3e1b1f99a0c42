"""Which versions the lower end of a range is compared with, and what is above it."""

from tools.check_lowest import above, lowest_of, resolved

PYPROJECT = """
dependencies = ["numpy>=1.26", "pillow>=10.3", "scipy>=1.11; sys_platform == 'linux'", "torch>=2.4"]
export = ["mpiqe[train]", "torch>=2.7", "ray[data]>=2.9", "huggingface_hub>=0.23.2"]
test = ["ray[data]>=2.40"]
"""
RESOLVED = """
numpy==1.26.0
    # via mpiqe (pyproject.toml)
pillow==11.1.0
scipy==1.11.1
torch @ file:///wheels/torch-2.13.0%2Bcpu.whl
ray==2.40.0
huggingface-hub==0.23.20
"""


def test_the_lower_ends_are_those_of_pyproject_the_highest_of_several():
    assert lowest_of(PYPROJECT) == {
        "huggingface-hub": "0.23.2",
        "numpy": "1.26",
        "pillow": "10.3",
        "ray": "2.40",
        "scipy": "1.11",
        "torch": "2.7",
    }


def test_what_is_above_its_lower_end_is_named():
    found = resolved(RESOLVED)
    assert found["torch"] == "file:///wheels/torch-2.13.0%2Bcpu.whl"
    assert above(lowest_of(PYPROJECT), found) == ["huggingface-hub", "pillow"]
