"""Writes sample files in every format and colour mode with the pixels that Pillow decodes from them.

Usage: python data_decode.py crates/regraft-data/tests/golden
Versions: Pillow 13.0.0 (libjpeg-turbo 3.2), scikit-image 0.26.0, numpy.

`decode/NAME.EXT` is a sample, `decode/NAME.EXT.rgb` its `ImageOps.exif_transpose(Image.open(f)).convert("RGB")`:
width and height as little-endian u32, then the rows. `photographs/*.jpg` are larger; `photographs.json` holds width,
height and the SHA-256 of the same pixels for each. `unsupported/` holds kinds that Regraft refuses by name.
"""

import hashlib
import io
import json
import pathlib
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps
from skimage import data

OUTPUT = pathlib.Path(sys.argv[1])
PHOTO = Image.fromarray(data.astronaut()).crop((190, 60, 227, 89))


def decoded(content):
    return ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth, colour_type, rows, extra=b""):
    """A PNG from packed rows, for the depths that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def sixteen_bit(channels):
    """16-bit big-endian rows whose low bytes differ from the high ones."""
    random = np.random.default_rng(1).integers(0, 65536, (9, 11 * channels)).astype(">u2")
    random[:, :6] = [0, 1, 127, 255, 256, 65535]
    return [row.tobytes() for row in random]


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def jpegs():
    for name, subsampling in [("444", 0), ("422", 1), ("420", 2)]:
        yield f"{name}.jpg", encode(PHOTO, "JPEG", quality=80, subsampling=subsampling)
        yield f"progressive_{name}.jpg", encode(PHOTO, "JPEG", quality=80, subsampling=subsampling, progressive=True)
    yield "grey.jpg", encode(PHOTO.convert("L"), "JPEG")
    yield "rgb.jpg", encode(PHOTO, "JPEG", keep_rgb=True)
    yield "cmyk.jpg", encode(PHOTO.convert("CMYK"), "JPEG", quality=90)
    yield "restarts.jpg", encode(PHOTO, "JPEG", restart_marker_blocks=2)
    yield "trailing.jpg", encode(PHOTO, "JPEG") + b"appended by a camera"
    yield "one_pixel.jpg", encode(PHOTO.crop((0, 0, 1, 1)), "JPEG")
    for orientation in range(1, 9):
        yield f"orientation_{orientation}.jpg", encode(PHOTO, "JPEG", exif=exif(orientation))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield "orientation_xmp.jpg", encode(PHOTO, "JPEG", xmp=xmp)


def pngs():
    yield "rgb.png", encode(PHOTO, "PNG")
    yield "one_bit.png", encode(PHOTO.convert("1"), "PNG")
    yield "grey.png", encode(PHOTO.convert("L"), "PNG")
    translucent = PHOTO.copy()
    translucent.putalpha(PHOTO.getchannel(1))
    yield "rgba.png", encode(translucent, "PNG")
    yield "grey_alpha.png", encode(translucent.convert("LA"), "PNG")
    yield "palette.png", encode(PHOTO.quantize(40), "PNG")
    yield "palette_transparent.png", encode(PHOTO.quantize(40), "PNG", transparency=bytes(range(0, 240, 6)))
    yield "rgb_transparent.png", encode(PHOTO, "PNG", transparency=PHOTO.getpixel((3, 3)))
    yield "orientation.png", encode(PHOTO, "PNG", exif=exif(8))
    yield "grey_2.png", png(11, 9, 2, 0, [bytes([27 + row, 228, 177]) for row in range(9)])
    yield "grey_4.png", png(11, 9, 4, 0, [bytes([1 + row, 35, 69, 103, 137, 171]) for row in range(9)])
    for name, colour_type, channels in [("grey", 0, 1), ("rgb", 2, 3), ("grey_alpha", 4, 2), ("rgba", 6, 4)]:
        yield f"{name}_16.png", png(11, 9, 16, colour_type, sixteen_bit(channels))


def webps():
    translucent = PHOTO.copy()
    translucent.putalpha(PHOTO.getchannel(1))
    yield "lossy.webp", encode(PHOTO, "WEBP", quality=80)
    yield "lossy_alpha.webp", encode(translucent, "WEBP", quality=80)
    yield "lossless.webp", encode(PHOTO, "WEBP", lossless=True)
    yield "lossless_alpha.webp", encode(translucent, "WEBP", lossless=True, exact=True)
    yield "orientation.webp", encode(PHOTO, "WEBP", lossless=True, exif=exif(3))
    moving = {"save_all": True, "append_images": [ImageOps.flip(PHOTO)], "lossless": True}
    yield "animated.webp", encode(PHOTO, "WEBP", **moving)


def others():
    yield "rgb.bmp", encode(PHOTO, "BMP")
    yield "one_bit.bmp", encode(PHOTO.convert("1"), "BMP")
    yield "grey.bmp", encode(PHOTO.convert("L"), "BMP")
    yield "palette.bmp", encode(PHOTO.quantize(200), "BMP")
    yield "rgba.bmp", encode(PHOTO.convert("RGBA"), "BMP")
    yield "palette.gif", encode(PHOTO.quantize(60), "GIF")
    yield "transparent.gif", encode(PHOTO.quantize(60), "GIF", transparency=7)
    yield "grey.gif", encode(PHOTO.convert("L"), "GIF")
    yield "animated.gif", encode(PHOTO, "GIF", save_all=True, append_images=[ImageOps.flip(PHOTO)])


def tiffs():
    yield "rgb.tiff", encode(PHOTO, "TIFF")
    yield "rgba.tiff", encode(PHOTO.convert("RGBA"), "TIFF")
    yield "grey.tiff", encode(PHOTO.convert("L"), "TIFF")
    yield "grey_alpha.tiff", encode(PHOTO.convert("LA"), "TIFF")
    yield "one_bit.tiff", encode(PHOTO.convert("1"), "TIFF")
    yield "group4.tiff", encode(PHOTO.convert("1"), "TIFF", compression="group4")
    yield "cmyk.tiff", encode(PHOTO.convert("CMYK"), "TIFF")
    for compression in ["tiff_lzw", "tiff_adobe_deflate", "packbits"]:
        yield f"{compression}.tiff", encode(PHOTO, "TIFF", compression=compression)
    yield "grey_16.tiff", encode(Image.fromarray(np.arange(0, 3080, 40, dtype=np.uint16).reshape(7, 11)), "TIFF")
    yield "orientation.tiff", encode(PHOTO, "TIFF", tiffinfo={274: 6})


def write_samples():
    folder = OUTPUT / "decode"
    folder.mkdir(parents=True, exist_ok=True)
    for samples in [jpegs, pngs, webps, others, tiffs]:
        for name, content in samples():
            image = decoded(content)
            (folder / name).write_bytes(content)
            (folder / f"{name}.rgb").write_bytes(struct.pack("<II", *image.size) + image.tobytes())


def write_unsupported():
    folder = OUTPUT / "unsupported"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "palette.tiff").write_bytes(encode(PHOTO.quantize(20), "TIFF"))
    (folder / "cmyk_420.jpg").write_bytes(encode(PHOTO.convert("CMYK"), "JPEG", subsampling=2))


def write_photographs():
    folder = OUTPUT / "photographs"
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    corners = {"astronaut": (170, 20), "coffee": (150, 100), "chelsea": (120, 60), "rocket": (220, 180)}
    for name, (x, y) in corners.items():
        photo = Image.fromarray(getattr(data, name)()).convert("RGB").crop((x, y, x + 179, y + 131))
        for subsampling, quality in [(0, 75), (1, 90), (2, 75), (2, 90)]:
            file = f"{name}_{['444', '422', '420'][subsampling]}_{quality}.jpg"
            content = encode(photo, "JPEG", quality=quality, subsampling=subsampling, progressive=quality == 90)
            (folder / file).write_bytes(content)
            image = decoded(content)
            digest = hashlib.sha256(image.tobytes()).hexdigest()
            expected[file] = {"width": image.width, "height": image.height, "sha256": digest}
    (OUTPUT / "photographs.json").write_text(json.dumps(expected, indent=1) + "\n")


write_samples()
write_unsupported()
write_photographs()
