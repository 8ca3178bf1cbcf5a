"""Writes a few emoji that must not be taken for duplicates of each other.

Usage: python data_emoji.py crates/regraft-data/tests/golden EMOJI_FOLDER   (the unpacked package)
Source: npm package emoji-datasource-google 16.0.0, Noto images, Apache-2.0 (see assets/NOTICE).

`emoji/NAME.png`: flags with the same layout, hearts in every colour, a raised thumb in every skin tone, clocks, faces.
"""

import json
import pathlib
import sys

OUTPUT, PACKAGE = pathlib.Path(sys.argv[1]) / "emoji", pathlib.Path(sys.argv[2]) / "package"
NAMES = ["flag-hn", "flag-ni", "flag-sv", "flag-ro", "flag-td", "flag-eg", "flag-ye", "flag-iq", "flag-ky", "flag-vg",
         "heart", "orange_heart", "yellow_heart", "green_heart", "blue_heart", "purple_heart", "black_heart", "+1",
         "clock1", "clock2", "clock11", "clock12", "neutral_face", "expressionless", "kissing", "five", "six"]


def images():
    for emoji in json.loads((PACKAGE / "emoji.json").read_text()):
        if emoji["short_name"] in NAMES:
            yield emoji["short_name"].replace("+1", "thumb"), emoji["image"]
            for tone, variation in emoji.get("skin_variations", {}).items():
                yield f"thumb_{tone}", variation["image"]


OUTPUT.mkdir(parents=True, exist_ok=True)
for name, image in images():
    (OUTPUT / f"{name}.png").write_bytes((PACKAGE / "img/google/64" / image).read_bytes())
