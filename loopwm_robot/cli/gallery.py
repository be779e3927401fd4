"""loopwm gallery: a picture of every arm in every task."""

from __future__ import annotations

from ..config import GalleryCommand
from ..errors import RequestError
from ..runs import RunFolder
from .compose import compose

CONFIG_NAME = "gallery"
SCHEMA = GalleryCommand


def run(overrides: list[str]) -> int:
    """Draw the pictures, and one with all of them.

    Raises:
        RequestError: the arm is unknown.
    """
    config = compose(CONFIG_NAME, overrides, SCHEMA)
    from PIL import Image

    from envs import known_arms

    from ..report.gallery import contact_sheet, gallery_ids, take_picture

    own = config.robot if config.robot.endswith((".yaml", ".yml")) else ""
    if config.robot and not own and config.robot not in known_arms():
        known = ", ".join(known_arms())
        raise RequestError(f"robot is '{config.robot}', allowed {known}, the path of a YAML file, or nothing for all")
    rows = gallery_ids("panda" if own else config.robot)
    with RunFolder.create("gallery", config.out) as folder:
        folder.save_config(config)
        pictures = []
        for row in rows:
            taken = []
            for name in row:
                caption = name.removeprefix("LoopWM/").removesuffix("-v0")
                try:
                    picture = take_picture(name, config.width, config.height, config.seed, own)
                except ValueError as error:
                    raise RequestError(str(error)) from error
                if own:
                    caption = caption.replace("Panda", "")
                Image.fromarray(picture).save(folder.file(f"{caption}.png"))
                taken.append((caption, picture))
            pictures.append(taken)
        sheet = folder.file("gallery.png")
        contact_sheet(pictures).save(sheet, optimize=True)
        folder.write_summary({"pictures": sum(map(len, rows)), "seed": config.seed})
        folder.log.info(f"{sum(map(len, rows))} pictures in {sheet.parent}")
        print(f"{sum(map(len, rows))} pictures in {sheet.parent}, all of them on {sheet.name}")
    return 0
