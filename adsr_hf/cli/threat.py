"""``adsr threat PHOTOS/ [--output threat.html] [--image_size 64]``."""

from pathlib import Path

from adsr_hf.cli.main import OK
from adsr_hf.cli.options import OptionParser
from adsr_hf.settings.errors import UsageError

_SHOWN, _SAMPLED = 4, 60


def run(words: list[str]) -> int:
    """Estimate the noise of photos, and show what each radius looks like on them, as one page."""
    parser = OptionParser(
        prog="adsr threat",
        description="Help to choose the radius epsilon: the noise that your photos hold already, what 1, 2, 4 and 8 "
        "grey levels look like on them at the size that the model sees, and what a radius costs. One page, nothing to "
        "fetch. Needs: pip install 'adsr_hf[threat]'.",
    )
    parser.add_argument("photos", help="folder with a sub-folder for each class, with train/ and test/ above or not")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("threat.html"), help="the page (default: threat.html)"
    )
    parser.add_argument("--image_size", type=int, default=64, help="side of the model's images in pixels")
    arguments = parser.parse_args(words)
    if not 8 <= arguments.image_size <= 1024:
        raise UsageError(f"--image_size={arguments.image_size} must lie in [8, 1024]; it is a side in pixels")
    from adsr_hf.onboarding.photos import sampled_photos
    from adsr_hf.onboarding.sensor_noise import estimate_noise
    from adsr_hf.onboarding.threat_page import threat_page
    from adsr_hf.records.files import write_bytes

    photos = sampled_photos(arguments.photos, _SAMPLED)
    noise = estimate_noise([image for _, image in photos])
    # Spread over the sample, which goes through the classes.
    shown = photos[:: max(1, len(photos) // _SHOWN)][:_SHOWN]
    page = threat_page(shown, noise, side=arguments.image_size, place=arguments.photos)
    write_bytes(arguments.output, page.encode())
    print(
        f"{arguments.photos}: noise of {noise.median:.1f} grey levels in the middle of {noise.photos} photos "
        f"({noise.low:.1f} to {noise.high:.1f} for half of them)\npage: {arguments.output}"
    )
    return OK
