"""Draws the six made-up pictures that the sample report shows as mistakes.

Usage: python oracles/report_sample.py crates/regraft-report/tests/sample
Writes mistake_0.png … mistake_5.png (64 x 64, palette). Made with Pillow 13.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw

PICTURES = [
    ("#f2b134", [("ellipse", (6, 6, 58, 58), "#f2b134"), ("ellipse", (18, 22, 27, 31), "#40331a"),
                 ("ellipse", (37, 22, 46, 31), "#40331a"), ("arc", (18, 26, 46, 48), "#40331a")]),
    ("#d95f3b", [("polygon", [(8, 12), (24, 20), (40, 20), (56, 12), (52, 44), (32, 58), (12, 44)], "#d95f3b"),
                 ("ellipse", (20, 30, 26, 36), "#222222"), ("ellipse", (38, 30, 44, 36), "#222222")]),
    ("#4f9d5d", [("ellipse", (10, 8, 54, 40), "#4f9d5d"), ("rectangle", (28, 36, 36, 60), "#7a5230")]),
    ("#5b84c4", [("rectangle", (6, 26, 58, 46), "#5b84c4"), ("polygon", [(16, 26), (24, 14), (44, 14), (52, 26)], "#9bb6df"),
                 ("ellipse", (12, 40, 24, 52), "#2b2f36"), ("ellipse", (40, 40, 52, 52), "#2b2f36")]),
    ("#c94f6d", [("ellipse", (10, 16, 54, 60), "#c94f6d"), ("polygon", [(32, 18), (38, 4), (46, 8)], "#4f9d5d")]),
    ("#8a6fb3", [("rectangle", (12, 24, 52, 58), "#c8b48a"), ("polygon", [(6, 26), (32, 4), (58, 26)], "#8a6fb3"),
                 ("rectangle", (27, 40, 37, 58), "#5c4a2e")]),
]


def main() -> None:
    folder = Path(sys.argv[1])
    for index, (_, shapes) in enumerate(PICTURES):
        picture = Image.new("RGB", (256, 256), "white")
        draw = ImageDraw.Draw(picture)
        for kind, place, colour in shapes:
            flat = [tuple(4 * v for v in point) for point in place] if kind == "polygon" else [4 * v for v in place]
            if kind == "arc":
                draw.arc(flat, 20, 160, fill=colour, width=12)
            else:
                getattr(draw, kind)(flat, fill=colour)
        small = picture.resize((64, 64), Image.Resampling.LANCZOS).quantize(16)
        small.save(folder / f"mistake_{index}.png", optimize=True)


if __name__ == "__main__":
    main()
