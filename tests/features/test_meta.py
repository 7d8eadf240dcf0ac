"""SetMeta: the content of prepared.json."""

import json

import pytest

from neuromusic.core.errors import InputError
from neuromusic.features.frontends.base import front_end, front_end_names
from neuromusic.features.meta import SetMeta

META = SetMeta.of_front_end("audio", front_end("logmel"), ["blues", "rock"])


@pytest.mark.parametrize("name", front_end_names())
def test_json_restores_the_metadata_of_every_front_end(name):
    spec = front_end(name)
    meta = SetMeta.of_front_end("audio", spec, ["blues"])
    content = json.loads(json.dumps(meta.to_json()))
    assert list(content) == [
        "source", "front_end", "frame_s", "n_channels", "n_bands", "classes", "channel"
    ]  # fmt: skip
    restored = SetMeta.from_json(content, "prepared.json", "prepare it again")
    assert front_end(**restored.front_end) == spec
    assert json.dumps(restored.to_json()) == json.dumps(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_bands": "64"}, "x: n_bands is missing or not of type int; do y"),
        ({"frame_s": 0.0}, "x: frame_s is 0.0; expected seconds above 0"),
        ({"front_end": {}}, "x: front_end has no name; do y"),
        ({"classes": ["../a"]}, "x, classes: '../a' is not a plain name"),
    ],
)
def test_the_error_names_the_wrong_key(change, message):
    with pytest.raises(InputError) as caught:
        SetMeta.from_json(META.to_json() | change, "x", "do y")
    assert str(caught.value).startswith(message)


def test_metadata_are_compared_in_everything_but_the_classes():
    other = SetMeta.of_front_end("audio", front_end("logmel"), ["jazz"])
    assert META.first_difference(other) is None
    other = SetMeta.of_front_end("audio", front_end("logmel", n_mels=64), ["blues", "rock"])
    assert META.first_difference(other) == "front_end"
