"""Write made-up shapes to disk: `python scripts/generate.py out=DIR count=24 seed=0`."""

from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from mvdecor.engine.cli import main
from mvdecor.errors import InputError
from mvdecor.made_up.generate import write_partnet, write_people_like


def generate(config: DictConfig) -> None:
    """Write the data set that the config describes and print where it is."""
    try:
        out = config.out
    except MissingMandatoryValue as error:
        raise InputError("out is not set: name the folder to make, for example out=data/made_up") from error
    shared = {"count": config.count, "seed": config.seed, "test_fraction": config.test_fraction}
    if config.format == "partnet":
        root = write_partnet(out, categories=tuple(config.categories), **shared)
    elif config.format == "people":
        if len(config.categories) != 1:
            raise InputError("format=people takes exactly one category, for example categories=[Chair]")
        root = write_people_like(out, category=config.categories[0], **shared)
    else:
        raise InputError(f"format={config.format} is unknown; choose partnet or people")
    print(f"{config.count} made-up shapes of each of {', '.join(config.categories)} are in {root}")


if __name__ == "__main__":
    main(generate, "generate")
